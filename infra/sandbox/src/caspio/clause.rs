//! `q.where`: the part of SQL's conditions that Caspio supports, parsed and applied to rows.
//!
//! Two numbers compare as numbers, everything else as text, case-sensitively. (Caspio's own comparison of text ignores
//! case.) As in SQL, null is neither equal nor unequal to anything.

use super::table::Row;
use crate::wildcard;
use serde_json::{Number, Value};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::iter::Peekable;
use std::vec::IntoIter;

/// The most levels of nested parentheses: unlimited depth would exhaust the stack.
const DEEPEST: usize = 32;

/// A condition.
#[derive(Debug, PartialEq)]
pub(crate) enum Clause {
    All(Vec<Clause>),
    Any(Vec<Clause>),
    Compare { column: String, operator: Operator, literal: Value },
    Like { column: String, pattern: String },
    Null { column: String, wanted: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Why a condition is invalid.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadClause(String);

impl Clause {
    pub(crate) fn parse(text: &str) -> Result<Self, BadClause> {
        let mut parser = Parser { tokens: tokens(text)?.into_iter().peekable(), depth: 0 };
        let clause = parser.any()?;
        match parser.tokens.next() {
            None => Ok(clause),
            Some(token) => Err(unexpected(Some(token), "the end")),
        }
    }

    pub(crate) fn holds(&self, row: &Row) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(row)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(row)),
            Self::Compare { column, operator, literal } => {
                row.get(column).and_then(|value| order(value, literal)).is_some_and(|order| operator.allows(order))
            }
            Self::Like { column, pattern } => {
                row.get(column).and_then(as_text).is_some_and(|text| wildcard::fits(pattern, &text, '%', Some('_')))
            }
            Self::Null { column, wanted } => row.get(column).is_none_or(Value::is_null) == *wanted,
        }
    }

    /// The value of `column` in every row that matches, if the condition contains an equality with it.
    pub(crate) fn required(&self, column: &str) -> Option<&Value> {
        match self {
            Self::All(parts) => parts.iter().find_map(|part| part.required(column)),
            Self::Compare { column: compared, operator: Operator::Equal, literal } if compared == column => {
                Some(literal)
            }
            _ => None,
        }
    }

    /// Every column in the condition.
    pub(crate) fn columns(&self) -> Vec<&str> {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::columns).collect(),
            Self::Compare { column, .. } | Self::Like { column, .. } | Self::Null { column, .. } => vec![column],
        }
    }
}

impl Operator {
    fn allows(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Unequal => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// The text under which a value compares and is indexed; `None` for null.
pub(crate) fn as_text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(Cow::Borrowed(text)),
        other => Some(Cow::Owned(other.to_string())),
    }
}

/// `None` when either is null.
pub(crate) fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) if left == right => Some(Ordering::Equal),
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
        },
        _ => Some(as_text(left)?.cmp(&as_text(right)?)),
    }
}

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Number(Number),
    Text(String),
    Operator(Operator),
    Open,
    Close,
}

fn tokens(text: &str) -> Result<Vec<Token>, BadClause> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '=' => (Token::Operator(Operator::Equal), 1),
            '<' if rest.starts_with("<>") => (Token::Operator(Operator::Unequal), 2),
            '<' if rest.starts_with("<=") => (Token::Operator(Operator::LessOrEqual), 2),
            '<' => (Token::Operator(Operator::Less), 1),
            '>' if rest.starts_with(">=") => (Token::Operator(Operator::GreaterOrEqual), 2),
            '>' => (Token::Operator(Operator::Greater), 1),
            '\'' => quoted(rest)?,
            '-' | '0'..='9' => {
                let length =
                    length_of(rest, |letter| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '+'));
                let number =
                    rest[..length].parse().map_err(|_| BadClause(format!("{} is not a number", &rest[..length])))?;
                (Token::Number(number), length)
            }
            letter if letter.is_alphabetic() || letter == '_' => {
                let length = length_of(rest, |letter| letter.is_alphanumeric() || letter == '_');
                (Token::Word(rest[..length].to_owned()), length)
            }
            other => return Err(BadClause(format!("{other} is not understood"))),
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

fn length_of(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|letter| !belongs(letter)).unwrap_or(text.len())
}

/// The text in quotes that `rest` begins with, and the length of its source.
fn quoted(rest: &str) -> Result<(Token, usize), BadClause> {
    let mut text = String::new();
    let mut letters = rest.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\'' if letters.next_if(|(_, next)| *next == '\'').is_some() => text.push('\''),
            '\'' => return Ok((Token::Text(text), at + 1)),
            other => text.push(other),
        }
    }
    Err(BadClause("a quote is not closed".to_owned()))
}

struct Parser {
    tokens: Peekable<IntoIter<Token>>,
    depth: usize,
}

impl Parser {
    fn any(&mut self) -> Result<Clause, BadClause> {
        self.list("OR", Self::all, Clause::Any)
    }

    fn all(&mut self) -> Result<Clause, BadClause> {
        self.list("AND", Self::term, Clause::All)
    }

    fn list(
        &mut self,
        joint: &str,
        part: impl Fn(&mut Self) -> Result<Clause, BadClause>,
        join: impl Fn(Vec<Clause>) -> Clause,
    ) -> Result<Clause, BadClause> {
        let first = part(self)?;
        let mut parts = vec![first];
        while self.skip(joint) {
            parts.push(part(self)?);
        }
        Ok(match parts.len() {
            1 => parts.remove(0),
            _ => join(parts),
        })
    }

    fn term(&mut self) -> Result<Clause, BadClause> {
        let column = match self.tokens.next() {
            Some(Token::Open) => return self.parenthesis(),
            Some(Token::Word(column)) => column,
            other => return Err(unexpected(other, "a column")),
        };
        if self.skip("IS") {
            let wanted = !self.skip("NOT");
            return match self.skip("NULL") {
                true => Ok(Clause::Null { column, wanted }),
                false => Err(unexpected(self.tokens.next(), "NULL")),
            };
        }
        if self.skip("LIKE") {
            return match self.tokens.next() {
                Some(Token::Text(pattern)) => Ok(Clause::Like { column, pattern }),
                other => Err(unexpected(other, "a pattern in quotes")),
            };
        }
        let operator = match self.tokens.next() {
            Some(Token::Operator(operator)) => operator,
            other => return Err(unexpected(other, "an operator")),
        };
        let literal = match self.tokens.next() {
            Some(Token::Text(text)) => Value::String(text),
            Some(Token::Number(number)) => Value::Number(number),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("true") => Value::Bool(true),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("false") => Value::Bool(false),
            other => return Err(unexpected(other, "a value")),
        };
        Ok(Clause::Compare { column, operator, literal })
    }

    fn parenthesis(&mut self) -> Result<Clause, BadClause> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(BadClause("too many parentheses".to_owned()));
        }
        let inner = self.any()?;
        self.depth -= 1;
        match self.tokens.next() {
            Some(Token::Close) => Ok(inner),
            other => Err(unexpected(other, ")")),
        }
    }

    /// Consumes the next token if it is this keyword.
    fn skip(&mut self, keyword: &str) -> bool {
        let is_keyword = |token: &Token| matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(keyword));
        self.tokens.next_if(is_keyword).is_some()
    }
}

fn unexpected(token: Option<Token>, wanted: &str) -> BadClause {
    let found = match token {
        None => "the end".to_owned(),
        Some(Token::Word(word)) => word,
        Some(Token::Number(number)) => number.to_string(),
        Some(Token::Text(text)) => format!("'{text}'"),
        Some(Token::Operator(_)) => "an operator".to_owned(),
        Some(Token::Open) => "(".to_owned(),
        Some(Token::Close) => ")".to_owned(),
    };
    BadClause(format!("{wanted} was expected, not {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_hold_or_not() {
        let Value::Object(row) = json!({
            "PK_ID": 7, "CompanyKey": "k", "PatientNumber": "5001", "Room": "14 B", "Name": "Sailor's  Rest",
            "Minutes": 2.75, "IsOpen": true, "CloseReason": null,
        }) else {
            unreachable!()
        };
        for (clause, expected) in [
            ("PK_ID=7", true),
            ("PK_ID = 7.5", false),
            ("PK_ID=-7", false),
            ("PK_ID<>7", false),
            ("PK_ID>=7 AND PK_ID<=7", true),
            ("PK_ID<7 OR PK_ID>6", true),
            ("PK_ID>10", false),
            ("Minutes>2", true),
            ("PatientNumber=5001", true),
            ("PatientNumber='5001'", true),
            ("PK_ID='7'", true),
            ("Name='Sailor''s  Rest'", true),
            ("Name='Sailor''s Rest'", false),
            ("IsOpen=true AND CompanyKey='k'", true),
            ("IsOpen=FALSE", false),
            ("CloseReason IS NULL", true),
            ("CloseReason is not null", false),
            ("Missing IS NULL", true),
            ("CloseReason='x'", false),
            ("CloseReason<>'x'", false),
            ("Room LIKE '14%'", true),
            ("Room LIKE '%C'", false),
            ("PK_ID=1 OR PK_ID=2 AND CompanyKey='k'", false),
            ("(PK_ID=7 OR PK_ID=2) AND CompanyKey='k'", true),
            ("PK_ID=7 OR PK_ID=2 AND CompanyKey='other'", true),
            ("((CompanyKey='k'))", true),
        ] {
            assert_eq!(Clause::parse(clause).unwrap().holds(&row), expected, "{clause}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for clause in [
            "",
            "PK_ID",
            "PK_ID=",
            "=7",
            "PK_ID==7",
            "PK_ID=7 AND",
            "PK_ID=7 8",
            "PK_ID=7x",
            "(PK_ID=7",
            "PK_ID=7)",
            "Name='open",
            "Name=\"x\"",
            "Name=NULL",
            "Name IS 7",
            "Name LIKE 7",
            "Name IN (1)",
            "{\"where\":1}",
            "PK_ID!=7",
            "NOT PK_ID=7",
            &format!("{}PK_ID=7{}", "(".repeat(500), ")".repeat(500)),
        ] {
            assert!(Clause::parse(clause).is_err(), "{clause}");
        }
    }

    #[test]
    fn only_a_condition_on_every_row_is_required() {
        let required = |clause: &str| Clause::parse(clause).unwrap().required("id").cloned();
        assert_eq!(required("id=7 AND key='k'"), Some(json!(7)));
        assert_eq!(required("key='k' AND (x=1 OR y=2) AND id='7'"), Some(json!("7")));
        assert_eq!(required("id=7 OR key='k'"), None);
        assert_eq!(required("id<>7"), None);
    }

    #[test]
    fn large_identifiers_keep_every_digit() {
        let clause = Clause::parse("id=639104054955416825").unwrap();
        let row = |id: i64| Row::from_iter([("id".to_owned(), json!(id))]);
        assert!(clause.holds(&row(639104054955416825)));
        assert!(!clause.holds(&row(639104054955416824)));
    }
}
