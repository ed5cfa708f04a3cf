//! Lists in the order of time, newest first: a partition of a table, or several of its sparse index `listed` as if they were
//! one, filtered, page by page.

use futures_util::future::try_join_all;
use switchyard_core::Timestamp;
use switchyard_io::Table;
use switchyard_io::dynamo::{DynamoError, Index, IntoAttribute as _, Item, Page};

/// The index.
pub const INDEX: Index = Index::Named("listed");

/// Rows of each partition that are read at a time.
const READ_BATCH: usize = 200;

/// Rows that one page reads at most, before it ends early with a cursor.
const MAX_READ: usize = 2_000;

/// Sorts before every place.
const FIRST_PLACE: &str = "0";

/// Why a page could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// DynamoDB.
    #[error("reading a list")]
    Store(#[source] DynamoError),
    /// The cursor is not one of an earlier page. Permanent.
    #[error("the cursor is not valid")]
    InvalidCursor,
}

impl From<DynamoError> for ListError {
    fn from(source: DynamoError) -> Self {
        Self::Store(source)
    }
}

/// A partition of the index: an owner's rows in one state.
pub fn partition(owner: &str, state: &str) -> String {
    format!("{owner}#{state}")
}

/// A row's place in every partition of the index: its time, then its id.
pub fn place(time: Timestamp, id: &str) -> String {
    format!("{:013}-{id}", time.as_millisecond())
}

/// The time of a place.
pub fn time_of(place: &str) -> Option<Timestamp> {
    Timestamp::from_millisecond(place.split('-').next()?.parse().ok()?).ok()
}

/// What is listed.
#[derive(Clone, Debug)]
pub enum Rows {
    /// A partition of the table, by its sort key.
    Partition(String),
    /// Partitions of the index, merged. The rows hold the attributes that the index projects.
    Listed(Vec<String>),
}

/// A text attribute of a row.
pub fn text<'a>(row: &'a Item, attribute: &str) -> Option<&'a str> {
    row.get(attribute)?.as_s().ok().map(String::as_str)
}

/// The newest rows before the place `before` that fit, at most `limit`, and the place where the next page starts if there may be
/// more. A page reads a bounded number of rows, so that it may hold fewer than there are.
///
/// # Errors
/// See [`ListError`].
pub async fn page(
    table: &Table,
    rows: &Rows,
    before: Option<&str>,
    limit: usize,
    fits: &(dyn Fn(&Item) -> bool + Sync),
) -> Result<(Vec<Item>, Option<String>), ListError> {
    // Every place begins with a digit or a letter: DynamoDB refuses a range that ends before it begins.
    if before.is_some_and(|place| place < FIRST_PLACE) {
        return Err(ListError::InvalidCursor);
    }
    let (mut found, mut place) = (Vec::new(), before.map(str::to_owned));
    for _ in 0..MAX_READ / READ_BATCH {
        let (page, has_more) = newest(table, rows, place.as_deref()).await?;
        let mut page = page.into_iter().peekable();
        while let Some((at, item)) = page.next() {
            place = Some(at);
            found.extend(Some(item).filter(|item| fits(item)));
            if found.len() == limit {
                let is_last = page.peek().is_none() && !has_more;
                return Ok((found, place.filter(|_| !is_last)));
            }
        }
        if !has_more {
            return Ok((found, None));
        }
    }
    Ok((found, place))
}

/// The newest rows before a place, each with its own, and whether there are more.
async fn newest(table: &Table, rows: &Rows, before: Option<&str>) -> Result<(Vec<(String, Item)>, bool), DynamoError> {
    let (index, place, partitions) = match rows {
        Rows::Partition(partition) => (Index::Table, "sk", std::slice::from_ref(partition)),
        Rows::Listed(partitions) => (INDEX, "listed_sk", partitions.as_slice()),
    };
    let pages = partitions.iter().map(|hash| {
        table.page(Page {
            index,
            hash: hash.clone(),
            // "~" lies beyond every place; the row at `before` itself is left out below.
            range: Some((FIRST_PLACE.into_attribute(), before.unwrap_or("~").into_attribute())),
            newest_first: true,
            limit: i32::try_from(READ_BATCH + 1).unwrap_or(i32::MAX),
            after: None,
        })
    });
    let (mut found, mut read_down_to): (Vec<(String, Item)>, Option<String>) = (Vec::new(), None);
    for (items, more) in try_join_all(pages).await? {
        let placed = items.into_iter().filter_map(|item| Some((text(&item, place)?.to_owned(), item)));
        found.extend(placed);
        // Rows before the end of any partition's page are left for the next page.
        if let (Some(_), Some((last, _))) = (more, found.last()) {
            read_down_to = read_down_to.max(Some(last.clone()));
        }
    }
    found.retain(|(at, _)| Some(at.as_str()) != before && Some(at) >= read_down_to.as_ref());
    found.sort_by(|(one, _), (other, _)| other.cmp(one));
    let has_more = read_down_to.is_some() || found.len() > READ_BATCH;
    found.truncate(READ_BATCH);
    Ok((found, has_more))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_tells_its_time() {
        let at = Timestamp::from_millisecond(1_767_607_200_123).unwrap();
        assert_eq!(time_of(&place(at, "019b2a3c-7c00")), Some(at));
        assert!(place(at, "f") > place(Timestamp::UNIX_EPOCH, "f"));
    }
}
