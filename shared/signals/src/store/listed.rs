use super::Store;
use crate::error::SignalsError;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use switchyard_io::dynamo::{Index, IntoAttribute as _, Item, Key, Page};

/// A partition of the index `listed`: what of an owner's is in a state.
pub(crate) fn listed_partition(owner: &str, state: &str) -> String {
    format!("{owner}#{state}")
}

/// A place in a partition: by time, the same in all of them.
pub(super) fn listed_at(time: Timestamp, id: &str) -> String {
    format!("{:013}-{id}", time.as_millisecond())
}

impl Store {
    /// The newest rows of some partitions of the index `listed`, as if they were one: at most `limit` older than the place
    /// `before`, and the place where the next look goes on if there are more. They are what the index holds of them.
    pub(crate) async fn listed(
        &self,
        partitions: &[String],
        before: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Item>, Option<String>), SignalsError> {
        // "~" lies beyond every place; the row at `before` itself is left out below.
        let to = before.unwrap_or("~");
        let pages = partitions.iter().map(|hash| {
            self.table.page(Page {
                index: Index::Named("listed"),
                hash: hash.clone(),
                range: Some(("0".into_attribute(), to.into_attribute())),
                newest_first: true,
                limit: i32::try_from(limit + 2).unwrap_or(i32::MAX),
                after: None,
            })
        });
        let mut rows: Vec<(String, Item)> = Vec::new();
        for (items, _) in try_join_all(pages).await? {
            let placed = items.into_iter().filter_map(|item| Some((item.get("listed_sk")?.as_s().ok()?.clone(), item)));
            rows.extend(placed.filter(|(place, _)| Some(place.as_str()) != before));
        }
        rows.sort_by(|(one, _), (other, _)| other.cmp(one));
        let next = rows.get(limit).and_then(|_| rows.get(limit.checked_sub(1)?)).map(|(place, _)| place.clone());
        rows.truncate(limit);
        Ok((rows.into_iter().map(|(_, item)| item).collect(), next))
    }

    /// Where the row of an id lies, whosever it is.
    pub(crate) async fn key_of(&self, id: &str) -> Result<Option<Key>, SignalsError> {
        let index = Index::Named("by_id");
        let page = Page { index, hash: id.to_owned(), range: None, newest_first: false, limit: 1, after: None };
        let (items, _) = self.table.page(page).await?;
        self.read(items.into_iter().next())
    }
}
