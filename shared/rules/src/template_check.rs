//! Checks templates for what the engine itself does not refuse, by reading the text between their braces.

use crate::issue::{Code, Report};
use crate::time::zone;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The filters of templates.
pub(crate) const FILTERS: [&str; 7] = ["default", "upper", "lower", "json", "date", "truncate", "round"];

/// The names of templates.
pub(crate) const NAMES: [&str; 11] =
    ["payload", "type", "source", "occurredAt", "receivedAt", "id", "tenant", "rule", "count", "suppressed", "events"];

const KEYWORDS: [&str; 7] = ["if", "elif", "else", "for", "in", "and", "or"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'s> {
    Name(&'s str),
    /// Without its quotes.
    Text(&'s str),
    Sign(char),
    BlockStart,
}

struct Scan<'s, 'r> {
    source: &'s str,
    tokens: Vec<(usize, Token<'s>)>,
    at: &'r str,
    report: &'r mut Report,
}

/// Reports every filter, call, tag and constant argument that is not supported.
pub(crate) fn check(source: &str, at: &str, report: &mut Report) {
    let mut scan = Scan { source, tokens: Vec::new(), at, report };
    scan.read();
    scan.judge();
}

/// `line 1, column 4`.
pub(crate) fn place(source: &str, offset: usize) -> String {
    let before = source.get(..offset).unwrap_or(source);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
    format!("line {line}, column {column}")
}

/// Where `name` is first used within braces.
pub(crate) fn offset_of(source: &str, name: &str) -> usize {
    let mut report = Report::default();
    let mut scan = Scan { source, tokens: Vec::new(), at: "", report: &mut report };
    scan.read();
    scan.tokens.iter().find(|(_, token)| *token == Token::Name(name)).map_or(0, |(offset, _)| *offset)
}

impl<'s> Scan<'s, '_> {
    fn read(&mut self) {
        let mut offset = 0;
        while let Some(found) = self.source[offset..].find('{') {
            let start = offset + found;
            offset = match self.source.as_bytes().get(start + 1) {
                Some(b'#') => self.source[start..].find("#}").map_or(self.source.len(), |end| start + end + 2),
                Some(b'{') => self.inside(start + 2, "}}"),
                Some(b'%') => {
                    self.tokens.push((start, Token::BlockStart));
                    self.inside(start + 2, "%}")
                }
                _ => start + 1,
            };
        }
    }

    /// Reads tokens up to `end`. Returns the position after it.
    fn inside(&mut self, start: usize, end: &str) -> usize {
        let mut offset = start;
        while let Some(letter) = self.source[offset..].chars().next() {
            let rest = &self.source[offset..];
            if rest.starts_with(end) {
                self.tokens.push((offset, Token::Sign(';')));
                return offset + end.len();
            }
            let (token, length) = match letter {
                '"' | '\'' => text(rest, letter),
                _ if letter.is_ascii_alphabetic() || letter == '_' => {
                    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
                    let length = rest.find(|letter| !is_name(letter)).unwrap_or(rest.len());
                    (Token::Name(&rest[..length]), length)
                }
                _ => (Token::Sign(letter), letter.len_utf8()),
            };
            if !letter.is_whitespace() {
                self.tokens.push((offset, token));
            }
            offset += length;
        }
        offset
    }

    fn refuse(&mut self, offset: usize, code: Code, message: &str) {
        let place = place(self.source, offset);
        self.report.issue(self.at, code, format!("{place}: {message}"));
    }

    fn judge(&mut self) {
        for number in 0..self.tokens.len() {
            let (offset, token) = self.tokens[number];
            let before = number.checked_sub(1).map(|number| self.tokens[number].1);
            let after = self.tokens.get(number + 1).map(|(_, token)| *token);
            match token {
                Token::BlockStart => {
                    let skip = usize::from(matches!(after, Some(Token::Sign('-' | '+'))));
                    let tag = self.tokens.get(number + 1 + skip).map(|(_, token)| *token);
                    if !matches!(tag, Some(Token::Name("if" | "elif" | "else" | "endif" | "for" | "endfor"))) {
                        self.refuse(offset, Code::BadTemplate, "only if and for can stand here");
                    }
                }
                Token::Sign('{' | '}') => self.refuse(offset, Code::BadTemplate, "objects cannot be written here"),
                Token::Name(name) if before == Some(Token::Sign('|')) => {
                    if !FILTERS.contains(&name) {
                        let message = format!("no filter {name}; there are {}", FILTERS.join(", "));
                        self.refuse(offset, Code::BadTemplate, &message);
                    } else if name == "date" {
                        self.judge_date(number + 1);
                    }
                }
                Token::Name("is") if before != Some(Token::Sign('.')) => {
                    self.refuse(
                        offset,
                        Code::BadTemplate,
                        "there are no tests; a name alone tells whether it has a value",
                    );
                }
                Token::Name("recursive") if before != Some(Token::Sign('.')) => {
                    self.refuse(offset, Code::BadTemplate, "for cannot be recursive");
                }
                Token::Name(name) if after == Some(Token::Sign('(')) => {
                    let is_keyword = before != Some(Token::Sign('.')) && (KEYWORDS.contains(&name) || name == "not");
                    if !is_keyword {
                        self.refuse(offset, Code::BadTemplate, "nothing can be called here");
                    }
                }
                Token::Sign('(') if matches!(before, Some(Token::Sign(')' | ']') | Token::Text(_))) => {
                    self.refuse(offset, Code::BadTemplate, "nothing can be called here");
                }
                _ => {}
            }
        }
    }

    /// Checks the constant arguments of `date`; its tokens start at `start`.
    fn judge_date(&mut self, start: usize) {
        let (offsets, tokens): (Vec<_>, Vec<_>) = self.tokens[start..].iter().take(5).copied().unzip();
        if let [Token::Sign('('), Token::Text(format), ..] = tokens[..]
            && formatted(format, Timestamp::UNIX_EPOCH, &TimeZone::UTC).is_none()
        {
            self.refuse(offsets[1], Code::BadTemplate, "not a date format");
        }
        if let [_, _, Token::Sign(','), Token::Text(name), ..] = tokens[..]
            && zone(name).is_none()
        {
            self.refuse(offsets[3], Code::BadTimezone, &format!("{name} is not an IANA time zone"));
        }
    }
}

/// A text in quotes, and its length with them.
fn text(rest: &str, quote: char) -> (Token<'_>, usize) {
    let mut is_escaped = false;
    for (offset, letter) in rest.char_indices().skip(1) {
        if letter == quote && !is_escaped {
            return (Token::Text(&rest[1..offset]), offset + 1);
        }
        is_escaped = letter == '\\' && !is_escaped;
    }
    (Token::Text(&rest[1..]), rest.len())
}

/// `moment` formatted as by `strftime`; `None` when the format is invalid.
pub(crate) fn formatted(format: &str, moment: Timestamp, zone: &TimeZone) -> Option<String> {
    jiff::fmt::strtime::format(format, &jiff::ZonedDateTime::new(moment, zone.clone())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str) -> Vec<(Code, String)> {
        let mut report = Report::default();
        check(source, "/text", &mut report);
        report.issues.into_iter().map(|issue| (issue.code, issue.message)).collect()
    }

    #[test]
    fn names_filters_if_and_for_are_all_there_is() {
        for source in [
            "no braces { at } all",
            "{{ payload.a | default('x') | upper }}",
            "{% if (payload.a) and not (payload.b == \"}}\") %}x{% elif count %}y{%- else -%}z{% endif %}",
            "{% for e in events %}{{ loop.index }} {{ e.payload['x | y(z)'] }}{% endfor %}{# {{ evil() }} #}",
            "{{ occurredAt | date('%d %b', 'Asia/Kolkata') }}",
        ] {
            assert_eq!(found(source), [], "{source}");
        }
        for source in [
            "{% include 'x' %}",
            "{% import 'x' as y %}",
            "{% macro x() %}{% endmacro %}",
            "{% set x = 1 %}",
            "{%- autoescape false %}{% endautoescape %}",
            "{% raw %}{{{% endraw %}",
            "{{ payload | safe }}",
            "{{ range(9) }}",
            "{{ payload.a.b() }}",
            "{{ payload['a']('b') }}",
            "{{ {'a': 1} }}",
            "{{ a is none }}",
            "{% for a in b recursive %}{% endfor %}",
            "{{ occurredAt | date('%Q%') }}",
        ] {
            assert!(found(source).iter().any(|(code, _)| *code == Code::BadTemplate), "{source}");
        }
    }

    #[test]
    fn messages_say_where() {
        let (code, message) = found("é\n {{ payload | sort }}").remove(0);
        assert_eq!(
            (code, message.starts_with("line 2, column 15: no filter sort")),
            (Code::BadTemplate, true),
            "{message}"
        );
        let (code, message) = found("{{ a | date('%d', 'Mars/X') }}").remove(0);
        assert_eq!((code, message.as_str()), (Code::BadTimezone, "line 1, column 19: Mars/X is not an IANA time zone"));
    }
}
