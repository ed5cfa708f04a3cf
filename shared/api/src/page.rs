//! Pages of a list: `limit` and `cursor` in, `items` and `nextCursor` out.

use crate::operation::{Argument, Operation};
use crate::query::pairs;
use crate::refusal::Refusal;
use axum::extract::FromRequestParts;
use http::request::Parts;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use std::str::FromStr;

/// Largest page, and the page of a request that does not say.
const MAX_LIMIT: usize = 200;
const DEFAULT_LIMIT: usize = 50;

/// Longest cursor: two ids of 64 bytes.
const MAX_CURSOR: usize = 160;

/// Bytes of one page: a function's response holds 6 MB, in which every quote counts twice.
const MAX_PAGE_BYTES: usize = 2_500_000;

/// One page of a list.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "{T}Page")]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// `cursor` of the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// Where the next page starts, as an earlier page's `nextCursor` said. Letters, digits and `-_.:` only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(String);

impl Cursor {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The cursor as what the list is ordered by.
    ///
    /// # Errors
    /// 400: no page ended with this cursor.
    pub fn parse<T: FromStr>(&self) -> Result<T, Refusal> {
        self.0.parse().map_err(|_| invalid())
    }
}

fn invalid() -> Refusal {
    Refusal::field("cursor is not valid; use `nextCursor` of an earlier page")
}

impl FromStr for Cursor {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        match !text.is_empty() && text.len() <= MAX_CURSOR && text.bytes().all(is_known) {
            true => Ok(Self(text.to_owned())),
            false => Err(invalid()),
        }
    }
}

/// The page that a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageQuery {
    /// Items at most, 1 to 200; 50 when the request does not say.
    pub limit: usize,
    /// Where the page starts; at the list's start when absent.
    pub cursor: Option<Cursor>,
}

impl PageQuery {
    /// The cursor's text.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_ref().map(Cursor::as_str)
    }
}

impl<S: Sync> FromRequestParts<S> for PageQuery {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let mut query = Self { limit: DEFAULT_LIMIT, cursor: None };
        for (name, value) in pairs(&parts.uri) {
            match name.as_str() {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                    query.limit = limit.ok_or_else(|| Refusal::field(format!("limit must be 1 to {MAX_LIMIT}")))?;
                }
                "cursor" => query.cursor = Some(value.parse()?),
                _ => {}
            }
        }
        Ok(query)
    }
}

impl Argument for PageQuery {
    fn describe(operation: &mut Operation) {
        let limit = json!({"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT});
        operation.parameter("query", "limit", false, limit);
        let pattern = format!("^[A-Za-z0-9._:-]{{1,{MAX_CURSOR}}}$");
        let description = "`nextCursor` of an earlier page";
        let cursor = json!({"type": "string", "pattern": pattern, "description": description});
        operation.parameter("query", "cursor", false, cursor);
    }
}

/// The page of a whole list that is ordered by its items' ids.
///
/// # Errors
/// 500: an item that cannot be written as JSON.
pub fn page_of<T: Serialize>(
    items: impl IntoIterator<Item = T>,
    query: &PageQuery,
    id: impl Fn(&T) -> &str,
) -> Result<Page<T>, Refusal> {
    let mut rest = items.into_iter().filter(|item| query.cursor().is_none_or(|cursor| id(item) > cursor));
    let (mut page, mut bytes) = (Vec::new(), 0);
    while page.len() < query.limit
        && bytes < MAX_PAGE_BYTES
        && let Some(item) = rest.next()
    {
        bytes += serde_json::to_string(&item).map_err(|error| Refusal::internal(&error))?.len();
        page.push(item);
    }
    let next_cursor = rest.next().and(page.last()).map(|last| id(last).to_owned());
    Ok(Page { items: page, next_cursor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_and_the_last_has_no_cursor() {
        let items = ["a", "b", "c"];
        let page = |limit, cursor: Option<&str>| {
            let query = PageQuery { limit, cursor: cursor.map(|text| text.parse().unwrap()) };
            page_of(items, &query, |item| item).unwrap()
        };
        assert_eq!((page(2, None).items, page(2, None).next_cursor), (vec!["a", "b"], Some("b".to_owned())));
        assert_eq!((page(2, Some("b")).items, page(2, Some("b")).next_cursor), (vec!["c"], None));
        assert_eq!(page(3, None).next_cursor, None);
    }

    #[test]
    fn a_page_of_large_items_ends_by_its_bytes() {
        let large = "x".repeat(1_000_000);
        let items = vec![format!("1{large}"), format!("2{large}"), format!("3{large}"), format!("4{large}")];
        let page = page_of(items, &PageQuery { limit: 200, cursor: None }, |item| &item[..1]).unwrap();
        assert_eq!((page.items.len(), page.next_cursor.as_deref()), (3, Some("3")));
    }

    #[test]
    fn odd_cursors_are_refused() {
        for odd in ["", "a b", "a#b", "ä", &"x".repeat(161)] {
            assert!(odd.parse::<Cursor>().is_err(), "{odd}");
        }
    }
}
