//! Caspio's tables: rows by `PK_ID`, and an index on each column that look-ups use.

use super::clause::{Clause, as_text};
use crate::alis;
use crate::answer::Object;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub(crate) type Row = Object;

/// The column of Caspio's own identifier.
pub(crate) const PK_ID: &str = "PK_ID";

/// The columns of `Residents_API`, the flat table: one row per resident.
const RESIDENT_COLUMNS: &[&str] = &[
    "companyKey",
    "communityId",
    "alisResidentId",
    "status",
    "productType",
    "classification",
    "firstName",
    "lastName",
    "dateOfBirth",
    "room",
    "roomNumber",
    "bed",
    "updatedAtUtc",
    "eventType",
    "eventMessageId",
    "eventTimestamp",
    "leaveStartDate",
    "leaveEndDate",
    "leaveExpectedReturnDate",
    "leaveReason",
];

#[derive(Default)]
pub(crate) struct Table {
    /// `None`: any column may be written.
    columns: Option<&'static [&'static str]>,
    rows: BTreeMap<i64, Row>,
    last_id: i64,
    indexes: Vec<Index>,
}

struct Index {
    column: &'static str,
    ids: HashMap<String, BTreeSet<i64>>,
}

/// The tables of a fresh account, by name: empty, except that the communities' rooms are known.
pub(crate) fn fresh() -> BTreeMap<&'static str, Table> {
    let mut communities = Table::new(None, &["CommunityID", "CUID"]);
    for community in alis::COMMUNITIES {
        for (room, cuid) in community.rooms.iter().zip(community.first_cuid..) {
            let id = communities.next_id();
            let row = json!({
                PK_ID: id,
                "CUID": cuid,
                "CommunityID": community.id.to_string(),
                "CommunityName": community.name,
                "RoomNumber": room,
                "Neighborhood": "Main",
                "SerialNumber": format!("EW-{cuid:06}"),
            });
            if let Value::Object(row) = row {
                communities.put(id, row);
            }
        }
    }
    BTreeMap::from([
        ("Residents_API", Table::new(Some(RESIDENT_COLUMNS), &["alisResidentId", "companyKey"])),
        ("CarePatientTable_API", Table::new(None, &["PatientNumber"])),
        ("CommunityTable_API", communities),
        ("Service_Table_API", Table::new(None, &["PatientNumber", "CUID"])),
        ("PatientOffPremHistory_API", Table::new(None, &["PatientNumber", "Episode_ID"])),
    ])
}

impl Table {
    /// `indexed`: the most selective column first.
    fn new(columns: Option<&'static [&'static str]>, indexed: &[&'static str]) -> Self {
        let indexes = indexed.iter().map(|column| Index { column, ids: HashMap::new() }).collect();
        Self { columns, indexes, ..Self::default() }
    }

    /// The `names` that are not columns of the table.
    pub(crate) fn unknown<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
        let is_known = |name: &str| name == PK_ID || self.columns.is_none_or(|columns| columns.contains(&name));
        names.into_iter().filter(|name| !is_known(name)).collect()
    }

    /// The `PK_ID` that the next new row gets.
    pub(crate) fn next_id(&self) -> i64 {
        self.last_id + 1
    }

    /// The new row of a request: every column, with null for absent values.
    pub(crate) fn complete(&self, id: i64, request: &Row) -> Row {
        let columns = self.columns.unwrap_or_default().iter();
        let mut row: Row = columns.map(|column| ((*column).to_owned(), Value::Null)).collect();
        row.extend(request.clone());
        row.insert(PK_ID.to_owned(), json!(id));
        row
    }

    /// The rows that match `clause`, by `PK_ID`.
    pub(crate) fn find<'a>(&'a self, clause: Option<&'a Clause>) -> Box<dyn Iterator<Item = (i64, &'a Row)> + 'a> {
        let Some(clause) = clause else { return Box::new(self.rows.iter().map(|(id, row)| (*id, row))) };
        let holds = |(_, row): &(i64, &Row)| clause.holds(row);
        if let Some(id) = clause.required(PK_ID).and_then(as_text) {
            let row = id.parse().ok().and_then(|id| self.rows.get_key_value(&id));
            return Box::new(row.map(|(id, row)| (*id, row)).into_iter().filter(holds));
        }
        let required = |index: &'a Index| Some((index, as_text(clause.required(index.column)?)?));
        if let Some((index, text)) = self.indexes.iter().find_map(required) {
            let ids = index.ids.get(text.as_ref()).into_iter().flatten();
            return Box::new(ids.filter_map(|id| Some((*id, self.rows.get(id)?))).filter(holds));
        }
        Box::new(self.rows.iter().map(|(id, row)| (*id, row)).filter(holds))
    }

    /// Inserts the row, or replaces the one with its id.
    pub(crate) fn put(&mut self, id: i64, row: Row) {
        self.last_id = self.last_id.max(id);
        for index in &mut self.indexes {
            index.replace(id, self.rows.get(&id), Some(&row));
        }
        self.rows.insert(id, row);
    }

    pub(crate) fn remove(&mut self, id: i64) {
        let row = self.rows.remove(&id);
        for index in &mut self.indexes {
            index.replace(id, row.as_ref(), None);
        }
    }
}

impl Index {
    fn replace(&mut self, id: i64, before: Option<&Row>, after: Option<&Row>) {
        let text = |row: &Row| row.get(self.column).and_then(as_text).map(|text| text.into_owned());
        let (before, after) = (before.and_then(text), after.and_then(text));
        if before == after {
            return;
        }
        if let Some(text) = before
            && let Some(ids) = self.ids.get_mut(&text)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.ids.remove(&text);
            }
        }
        if let Some(text) = after {
            self.ids.entry(text).or_default().insert(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(table: &Table, clause: &str) -> Vec<i64> {
        table.find(Some(&Clause::parse(clause).unwrap())).map(|(id, _)| id).collect()
    }

    #[test]
    fn an_index_finds_what_a_scan_would() {
        let mut table = Table::new(None, &["number"]);
        let row = |number: Value| Row::from_iter([("number".to_owned(), number), ("kind".to_owned(), json!("x"))]);
        for (id, number) in [(1, json!(7)), (2, json!("7")), (3, json!(8)), (4, Value::Null)] {
            table.put(id, row(number));
        }
        assert_eq!(found(&table, "number=7"), [1, 2]);
        assert_eq!(found(&table, "number='7' AND kind='x'"), [1, 2]);
        assert_eq!(found(&table, "number=7 AND kind='y'"), [] as [i64; 0]);
        table.put(1, row(json!(8)));
        table.remove(2);
        assert_eq!(found(&table, "number=7"), [] as [i64; 0]);
        assert_eq!(found(&table, "number=8"), [1, 3]);
        assert_eq!(found(&table, "number IS NULL"), [4]);
        assert_eq!(table.next_id(), 5);
    }

    #[test]
    fn an_id_is_not_given_twice() {
        let mut table = Table::new(None, &[]);
        table.put(1, Row::new());
        table.remove(1);
        assert_eq!(table.next_id(), 2);
    }

    #[test]
    fn rooms_have_their_cuid() {
        let tables = fresh();
        let clause = Clause::parse("CommunityID=77").unwrap();
        let rows: Vec<_> = tables["CommunityTable_API"].find(Some(&clause)).collect();
        let cuid = |room: &str| rows.iter().find(|(_, row)| row["RoomNumber"] == room).map(|(_, row)| &row["CUID"]);
        assert_eq!([cuid("10"), cuid("12"), cuid("14 B")], [Some(&json!(900)), Some(&json!(901)), Some(&json!(902))]);
    }
}
