//! The `q.` parameters of a request.

use super::clause::{Clause, as_text, order};
use super::refusal;
use super::table::Row;
use crate::answer::Refusal;
use http::StatusCode;
use serde_json::Value;
use std::cmp::Ordering;
use std::collections::HashMap;

pub(crate) type Params = HashMap<String, String>;

/// The default number of rows in a response, and the highest that a request may ask for.
const DEFAULT_ROWS: usize = 100;
const MAX_ROWS: usize = 1000;

/// What a read asks for.
pub(crate) struct Selection {
    pub(crate) clause: Option<Clause>,
    /// Empty: all columns.
    select: Vec<String>,
    order: Vec<(String, Direction)>,
    offset: usize,
    limit: usize,
}

#[derive(Clone, Copy)]
enum Direction {
    Ascending,
    Descending,
}

impl Selection {
    pub(crate) fn parse(params: &Params) -> Result<Self, Refusal> {
        let select = params.get("q.select").map(String::as_str).unwrap_or_default();
        let select = names(select).filter(|name| *name != "*").map(str::to_owned).collect();
        let order = params.get("q.orderBy").map(String::as_str).unwrap_or_default();
        let order = names(order).map(ordering).collect::<Result<_, _>>()?;
        let size = number(params, "q.pageSize", MAX_ROWS)?;
        let page = number(params, "q.pageNumber", usize::MAX)?;
        let limit = number(params, "q.limit", MAX_ROWS)?;
        let limit = size.or(limit).unwrap_or(DEFAULT_ROWS);
        let offset = page.unwrap_or(1).saturating_sub(1).saturating_mul(limit);
        let clause = params.get("q.where").map(|text| clause(text)).transpose()?;
        Ok(Self { clause, select, order, offset, limit })
    }

    /// Every column it names.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        let compared = self.clause.iter().flat_map(Clause::columns);
        let ordered = self.order.iter().map(|(column, _)| column.as_str());
        compared.chain(ordered).chain(self.select.iter().map(String::as_str))
    }

    /// The requested page of `rows`, with the requested columns.
    pub(crate) fn take<'a>(&self, rows: impl Iterator<Item = &'a Row>) -> Vec<Row> {
        if self.order.is_empty() {
            return rows.skip(self.offset).take(self.limit).map(|row| self.project(row)).collect();
        }
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by(|left, right| self.compare(left, right));
        rows.into_iter().skip(self.offset).take(self.limit).map(|row| self.project(row)).collect()
    }

    fn project(&self, row: &Row) -> Row {
        match self.select.is_empty() {
            true => row.clone(),
            false => {
                let value = |name: &String| (name.clone(), row.get(name).cloned().unwrap_or_default());
                self.select.iter().map(value).collect()
            }
        }
    }

    fn compare(&self, left: &Row, right: &Row) -> Ordering {
        let by_column = self.order.iter().map(|(column, direction)| {
            let (left, right) = (left.get(column).unwrap_or(&Value::Null), right.get(column).unwrap_or(&Value::Null));
            // Null comes first.
            let order = order(left, right).unwrap_or_else(|| as_text(left).is_some().cmp(&as_text(right).is_some()));
            match direction {
                Direction::Ascending => order,
                Direction::Descending => order.reverse(),
            }
        });
        by_column.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}

/// `q.where`, without which Caspio neither changes nor deletes anything.
pub(crate) fn required_clause(params: &Params) -> Result<Clause, Refusal> {
    clause(params.get("q.where").ok_or_else(|| incorrect("The parameter 'q.where' is required."))?)
}

/// Whether a write returns the rows that it wrote.
pub(crate) fn wants_rows(params: &Params) -> bool {
    params.get("response").is_some_and(|response| response == "rows")
}

fn clause(text: &str) -> Result<Clause, Refusal> {
    Clause::parse(text).map_err(|error| incorrect(&format!("The parameter 'q.where' is incorrect: {error}.")))
}

fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty())
}

fn ordering(text: &str) -> Result<(String, Direction), Refusal> {
    let mut words = text.split_whitespace();
    let column = words.next().unwrap_or_default().to_owned();
    let direction = match words.next().map(str::to_ascii_uppercase).as_deref() {
        None | Some("ASC") => Direction::Ascending,
        Some("DESC") => Direction::Descending,
        Some(_) => return Err(incorrect("The parameter 'q.orderBy' is incorrect.")),
    };
    Ok((column, direction))
}

fn number(params: &Params, name: &str, most: usize) -> Result<Option<usize>, Refusal> {
    let Some(text) = params.get(name) else { return Ok(None) };
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.map(Some).ok_or_else(|| incorrect(&format!("The parameter '{name}' is incorrect.")))
}

fn incorrect(message: &str) -> Refusal {
    refusal(StatusCode::BAD_REQUEST, "IncorrectQueryParameter", message)
}
