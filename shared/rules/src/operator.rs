//! The operators: their names, and the values that each accepts.

use crate::issue::{Code, Report, child, nearest};
use crate::operand::{List, Operand, Want};
use crate::path::Path;
use crate::term::{Cast, Kind, Term};
use crate::time::{DayPart, Days, read_duration};
use ipnet::IpNet;
use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Hir, HirKind};
use serde_json::Value;
use std::cmp::Ordering;
use std::net::IpAddr;

/// The most characters of a pattern.
const MAX_PATTERN: usize = 256;
/// Bytes of a pattern's automaton. It is compiled with doubling limits, and counts with the first limit that is enough.
const REGEX_BYTES: std::ops::RangeInclusive<u32> = 11..=18;
/// Bytes of the largest cache of an automaton.
const REGEX_CACHE: usize = 256 * 1024;
const REGEX_NEST: u32 = 20;

/// The most bytes of compiled patterns: of one document, and of all active rules of a tenant.
pub const MAX_PATTERN_BYTES: usize = 32 * 1024 * 1024;

/// A pattern of a document, and its memory when it is compiled and used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternSize {
    /// The pattern's JSON Pointer.
    pub pointer: String,
    /// Bytes of memory.
    pub bytes: usize,
}

/// The operators; of two equally good hints the first is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Eq,
    Ne,
    Gt,
    Gte,
    Lt,
    Lte,
    Between,
    In,
    NotIn,
    Contains,
    NotContains,
    ContainsAny,
    ContainsAll,
    StartsWith,
    EndsWith,
    Matches,
    Exists,
    IsNull,
    Type,
    Size,
    Before,
    After,
    WithinLast,
    OlderThan,
    TimeOfDay,
    Weekday,
    Cidr,
}

impl Op {
    pub(crate) const ALL: [(&str, Self); 27] = [
        ("eq", Self::Eq),
        ("ne", Self::Ne),
        ("gt", Self::Gt),
        ("gte", Self::Gte),
        ("lt", Self::Lt),
        ("lte", Self::Lte),
        ("between", Self::Between),
        ("in", Self::In),
        ("not_in", Self::NotIn),
        ("contains", Self::Contains),
        ("not_contains", Self::NotContains),
        ("contains_any", Self::ContainsAny),
        ("contains_all", Self::ContainsAll),
        ("starts_with", Self::StartsWith),
        ("ends_with", Self::EndsWith),
        ("matches", Self::Matches),
        ("exists", Self::Exists),
        ("is_null", Self::IsNull),
        ("type", Self::Type),
        ("size", Self::Size),
        ("before", Self::Before),
        ("after", Self::After),
        ("within_last", Self::WithinLast),
        ("older_than", Self::OlderThan),
        ("time_of_day", Self::TimeOfDay),
        ("weekday", Self::Weekday),
        ("cidr", Self::Cidr),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, op)| *op == self).map_or("", |(name, _)| name)
    }

    pub(crate) fn read(value: &Value, at: &str, report: &mut Report) -> Option<Self> {
        let name = report.text(value, at, 0..=usize::MAX)?;
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, op)| op);
        if found.is_none() {
            let hint = nearest(name, &Self::ALL.map(|(name, _)| name)).map_or("eq", |(name, _)| name);
            report.hinted(at, Code::UnknownOperator, "no such operator", hint);
        }
        found
    }

    /// Whether `as` has an effect.
    pub(crate) fn takes_cast(self) -> bool {
        use Op::{Between, Eq, Gt, Gte, In, Lt, Lte, Ne, NotIn};
        matches!(self, Eq | Ne | Gt | Gte | Lt | Lte | Between | In | NotIn)
    }

    /// Whether `ci` has an effect.
    pub(crate) fn takes_ci(self) -> bool {
        use Op::{Contains, ContainsAll, ContainsAny, EndsWith, Eq, In, Matches, Ne, NotContains, NotIn, StartsWith};
        matches!(
            self,
            Eq | Ne | In | NotIn | Contains | NotContains | ContainsAny | ContainsAll | StartsWith | EndsWith | Matches
        )
    }
}

/// An operator with its value, parsed.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    Equal {
        want: Operand,
        negate: bool,
    },
    Order {
        compare: Compare,
        bound: Operand,
    },
    Between {
        low: Operand,
        high: Operand,
    },
    /// Between the two values of an array of the event.
    Within(Path),
    In {
        list: List,
        negate: bool,
    },
    Contains {
        want: Operand,
        negate: bool,
    },
    ContainsMany {
        list: List,
        all: bool,
    },
    Affix {
        want: Operand,
        end: bool,
    },
    Matches(Pattern),
    Exists(bool),
    IsNull(bool),
    Kinds(Box<[Kind]>),
    Size(Box<[(Compare, usize)]>),
    Moment {
        bound: Operand,
        before: bool,
    },
    /// Milliseconds.
    Age {
        millis: i64,
        older: bool,
    },
    DayPart(DayPart),
    Days(Days),
    Networks(Box<[IpNet]>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Compare {
    Eq,
    Gt,
    Gte,
    Lt,
    Lte,
}

impl Compare {
    pub(crate) fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Eq => order.is_eq(),
            Self::Gt => order.is_gt(),
            Self::Gte => order.is_ge(),
            Self::Lt => order.is_lt(),
            Self::Lte => order.is_le(),
        }
    }
}

/// Parses the `value` of a leaf at `at`. Only `exists` and `is_null` need none.
pub(crate) fn read_test(
    op: Op,
    value: Option<&Value>,
    at: &str,
    (cast, ci): (Cast, bool),
    report: &mut Report,
) -> Option<Test> {
    let Some(value) = value else {
        return match op {
            Op::Exists => Some(Test::Exists(true)),
            Op::IsNull => Some(Test::IsNull(true)),
            _ => {
                report.issue(at, Code::MissingKey, "value is required");
                None
            }
        };
    };
    let ordered = |compare, report: &mut Report| {
        Operand::read(value, at, Want::Ordered, cast, report).map(|bound| Test::Order { compare, bound })
    };
    Some(match op {
        Op::Eq | Op::Ne => {
            Test::Equal { want: Operand::read(value, at, Want::Anything, cast, report)?, negate: op == Op::Ne }
        }
        Op::Gt => ordered(Compare::Gt, report)?,
        Op::Gte => ordered(Compare::Gte, report)?,
        Op::Lt => ordered(Compare::Lt, report)?,
        Op::Lte => ordered(Compare::Lte, report)?,
        Op::Between => read_between(value, at, cast, report)?,
        Op::In | Op::NotIn => Test::In { list: List::read(value, at, cast, report)?, negate: op == Op::NotIn },
        Op::Contains | Op::NotContains => Test::Contains {
            want: Operand::read(value, at, Want::Anything, Cast::None, report)?,
            negate: op == Op::NotContains,
        },
        Op::ContainsAny | Op::ContainsAll => {
            Test::ContainsMany { list: List::read(value, at, Cast::None, report)?, all: op == Op::ContainsAll }
        }
        Op::StartsWith | Op::EndsWith => {
            let want = Operand::read(value, at, Want::Text, Cast::None, report)?;
            Test::Affix { want, end: op == Op::EndsWith }
        }
        Op::Matches => Test::Matches(Pattern::read(value, at, ci, report)?),
        Op::Exists => Test::Exists(report.boolean(value, at)?),
        Op::IsNull => Test::IsNull(report.boolean(value, at)?),
        Op::Type => Test::Kinds(read_kinds(value, at, report)?),
        Op::Size => Test::Size(read_size(value, at, report)?),
        Op::Before | Op::After => {
            let bound = Operand::read(value, at, Want::Moment, Cast::None, report)?;
            Test::Moment { bound, before: op == Op::Before }
        }
        Op::WithinLast | Op::OlderThan => {
            Test::Age { millis: read_duration(value, at, ("1s", "36525d"), report)?, older: op == Op::OlderThan }
        }
        Op::TimeOfDay => Test::DayPart(DayPart::read(value, at, report)?),
        Op::Weekday => Test::Days(Days::read(value, at, report)?),
        Op::Cidr => Test::Networks(read_networks(value, at, report)?),
    })
}

fn read_between(value: &Value, at: &str, cast: Cast, report: &mut Report) -> Option<Test> {
    if value.is_object() {
        let Operand::Ref(path) = Operand::read(value, at, Want::Ordered, cast, report)? else {
            report.issue(at, Code::ValueType, "expected [low, high]");
            return None;
        };
        return Some(Test::Within(path));
    }
    let [low, high] = report.array(value, at, 2..=2)? else { return None };
    let low = Operand::read(low, &child(at, 0), Want::Ordered, cast, report);
    let high = Operand::read(high, &child(at, 1), Want::Ordered, cast, report);
    let (low, high) = (low?, high?);
    let is_reversed = match (&low, &high) {
        (Operand::Number(low), Operand::Number(high)) => low.order(*high).is_gt(),
        (Operand::Time(low), Operand::Time(high)) => low > high,
        (Operand::Now(low), Operand::Now(high)) => low > high,
        (Operand::Literal(Value::String(low)), Operand::Literal(Value::String(high))) => low > high,
        _ => false,
    };
    if is_reversed {
        report.issue(at, Code::BadValue, "the lower bound is above the upper one: nothing lies between");
        return None;
    }
    Some(Test::Between { low, high })
}

/// A compiled regular expression. Matching takes time linear in the text, times the pattern's positions.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    pub(crate) regex: Regex,
    /// The pattern's positions: its letters and classes, with repetitions.
    pub(crate) places: usize,
}

impl Pattern {
    fn read(value: &Value, at: &str, ci: bool, report: &mut Report) -> Option<Self> {
        let text = report.text(value, at, 0..=MAX_PATTERN)?;
        if report.pattern_bytes() > MAX_PATTERN_BYTES {
            // The error was reported before.
            return None;
        }
        for size in REGEX_BYTES.map(|power| 1 << power) {
            let cache = cache_of(size);
            let built = RegexBuilder::new(text)
                .case_insensitive(ci)
                .size_limit(size)
                .dfa_size_limit(cache)
                .nest_limit(REGEX_NEST)
                .build();
            match built {
                Ok(regex) => {
                    // One automaton and one cache for each direction.
                    report.patterns.push(PatternSize { pointer: at.to_owned(), bytes: 2 * (size + cache) });
                    if report.pattern_bytes() > MAX_PATTERN_BYTES {
                        report.issue(at, Code::TooLarge, "the rule's patterns are too large once compiled");
                        return None;
                    }
                    let places = regex_syntax::parse(text).map_or(usize::MAX, |pattern| places(&pattern));
                    return Some(Self { regex, places });
                }
                Err(regex::Error::CompiledTooBig(_)) => {}
                Err(error) => {
                    // The last line is the message; those above it show the position.
                    let text = error.to_string();
                    let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
                    report.issue(at, Code::BadRegex, reason);
                    return None;
                }
            }
        }
        report.issue(at, Code::BadRegex, "the pattern is too large once compiled");
        None
    }
}

/// The size of a useful cache for an automaton of this size.
fn cache_of(size: usize) -> usize {
    (16 * 1024 + 4 * size).min(REGEX_CACHE)
}

fn places(pattern: &Hir) -> usize {
    match pattern.kind() {
        HirKind::Empty | HirKind::Look(_) => 0,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Class(_) => 1,
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min).max(1);
            places(&repetition.sub).saturating_mul(usize::try_from(times).unwrap_or(usize::MAX))
        }
        HirKind::Capture(capture) => places(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().map(places).fold(0, usize::saturating_add),
    }
}

fn read_kinds(value: &Value, at: &str, report: &mut Report) -> Option<Box<[Kind]>> {
    if value.is_string() {
        return report.choice(value, at, &Kind::NAMES).map(|kind| [kind].into());
    }
    let items = report.array(value, at, 1..=Kind::NAMES.len())?;
    let kinds: Vec<_> =
        items.iter().enumerate().map(|(number, item)| report.choice(item, &child(at, number), &Kind::NAMES)).collect();
    kinds.into_iter().collect()
}

fn read_size(value: &Value, at: &str, report: &mut Report) -> Option<Box<[(Compare, usize)]>> {
    const BOUNDS: [(&str, Compare); 5] =
        [("eq", Compare::Eq), ("gt", Compare::Gt), ("gte", Compare::Gte), ("lt", Compare::Lt), ("lte", Compare::Lte)];
    let map = report.object(value, at, &BOUNDS.map(|(name, _)| name))?;
    if map.is_empty() {
        report.hinted(at, Code::BadValue, "expected a bound", "{\"gte\": 1}");
        return None;
    }
    let mut bounds = Vec::new();
    for (name, compare) in BOUNDS {
        let Some(value) = map.get(name) else { continue };
        let size = report.integer(value, &child(at, name), 0..=i64::MAX)?;
        bounds.push((compare, usize::try_from(size).unwrap_or(usize::MAX)));
    }
    Some(bounds.into())
}

fn read_networks(value: &Value, at: &str, report: &mut Report) -> Option<Box<[IpNet]>> {
    if value.is_string() {
        return read_network(value, at, report).map(|network| [network].into());
    }
    let items = report.array(value, at, 1..=200)?;
    let networks: Vec<_> =
        items.iter().enumerate().map(|(number, item)| read_network(item, &child(at, number), report)).collect();
    networks.into_iter().collect()
}

fn read_network(value: &Value, at: &str, report: &mut Report) -> Option<IpNet> {
    let text = report.text(value, at, 0..=usize::MAX)?;
    let found = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    if found.is_none() {
        report.hinted(at, Code::BadValue, "expected a network", "10.0.0.0/8");
    }
    found
}

/// An IP address in an event; IPv4-mapped IPv6 counts as IPv4.
pub(crate) fn address(term: Term<'_>) -> Option<IpAddr> {
    term.text()?.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}
