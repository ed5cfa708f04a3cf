use super::Store;
use crate::error::SignalsError;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use switchyard_io::dynamo::{Index, IntoAttribute as _, Item, Key, Page};

/// Rows that are read at a time.
const READ_TOGETHER: usize = 200;

/// Rows that one look reads at most, before it says where the next should go on.
const MOST_READ: usize = 2_000;

/// Sorts before every place.
const FIRST_PLACE: &str = "0";

/// A partition of the index `listed`: what of an owner's is in a state.
pub(crate) fn listed_partition(owner: &str, state: &str) -> String {
    format!("{owner}#{state}")
}

/// A place in a partition: by time, the same in all of them.
pub(super) fn listed_at(time: Timestamp, id: &str) -> String {
    format!("{:013}-{id}", time.as_millisecond())
}

/// The time of a place.
pub(super) fn time_of(place: &str) -> Option<Timestamp> {
    Timestamp::from_millisecond(place.split('-').next()?.parse().ok()?).ok()
}

/// What is looked through, newest first.
#[derive(Clone, Debug)]
pub(crate) enum Rows {
    /// A partition of the table, by its sort key.
    Of(String),
    /// Partitions of the index `listed`, as if they were one. The rows are what the index holds of them.
    Listed(Vec<String>),
}

/// A text in a row.
pub(crate) fn text<'a>(row: &'a Item, attribute: &str) -> Option<&'a str> {
    row.get(attribute)?.as_s().ok().map(String::as_str)
}

impl Store {
    /// The newest rows before the place `before` that fit, at most `limit`, and the place where the next look goes on, if there
    /// may be more. One look reads a bounded number of rows, so that it may find fewer than there are.
    pub(crate) async fn look(
        &self,
        rows: &Rows,
        before: Option<&str>,
        limit: usize,
        fits: &(dyn Fn(&Item) -> bool + Sync),
    ) -> Result<(Vec<Item>, Option<String>), SignalsError> {
        // Every place begins with a digit or a letter: DynamoDB refuses a range that ends before it begins.
        if before.is_some_and(|place| place < FIRST_PLACE) {
            return Err(SignalsError::refused("cursor", "is not valid; use `nextCursor` of an earlier page"));
        }
        let (mut found, mut place) = (Vec::new(), before.map(str::to_owned));
        for _ in 0..MOST_READ / READ_TOGETHER {
            let (page, has_more) = self.newest(rows, place.as_deref()).await?;
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
    async fn newest(&self, rows: &Rows, before: Option<&str>) -> Result<(Vec<(String, Item)>, bool), SignalsError> {
        let (index, place, partitions) = match rows {
            Rows::Of(partition) => (Index::Table, "sk", std::slice::from_ref(partition)),
            Rows::Listed(partitions) => (Index::Named("listed"), "listed_sk", partitions.as_slice()),
        };
        let pages = partitions.iter().map(|hash| {
            self.table.page(Page {
                index,
                hash: hash.clone(),
                // "~" lies beyond every place; the row at `before` itself is left out below.
                range: Some((FIRST_PLACE.into_attribute(), before.unwrap_or("~").into_attribute())),
                newest_first: true,
                limit: i32::try_from(READ_TOGETHER + 1).unwrap_or(i32::MAX),
                after: None,
            })
        });
        let (mut found, mut read_down_to): (Vec<(String, Item)>, Option<String>) = (Vec::new(), None);
        for (items, more) in try_join_all(pages).await? {
            let placed = items.into_iter().filter_map(|item| Some((text(&item, place)?.to_owned(), item)));
            found.extend(placed);
            // What lies before the end of any page is left for the next look.
            if let (Some(_), Some((last, _))) = (more, found.last()) {
                read_down_to = read_down_to.max(Some(last.clone()));
            }
        }
        found.retain(|(at, _)| Some(at.as_str()) != before && Some(at) >= read_down_to.as_ref());
        found.sort_by(|(one, _), (other, _)| other.cmp(one));
        let has_more = read_down_to.is_some() || found.len() > READ_TOGETHER;
        found.truncate(READ_TOGETHER);
        Ok((found, has_more))
    }

    /// Where the row of an id lies, whosever it is.
    pub(crate) async fn key_of(&self, id: &str) -> Result<Option<Key>, SignalsError> {
        let index = Index::Named("by_id");
        let page = Page { index, hash: id.to_owned(), range: None, newest_first: false, limit: 1, after: None };
        let (items, _) = self.table.page(page).await?;
        self.read(items.into_iter().next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_tells_its_time() {
        let at = Timestamp::from_millisecond(1_767_607_200_123).unwrap();
        assert_eq!(time_of(&listed_at(at, "019b2a3c-7c00")), Some(at));
        assert!(listed_at(at, "f") > listed_at(Timestamp::UNIX_EPOCH, "f"));
    }
}
