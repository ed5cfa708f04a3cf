//! ALIS: an assisted-living health record, its integration API's read side. Basic authentication, JSON.
//!
//! Its residents are generated from their ids ([`people`]); changes through the control routes are merged into them.

mod people;

pub(crate) use people::{COMMUNITIES, COMPANIES};

use crate::answer::{Object, Refusal, control_body};
use crate::journal::{Journal, Line};
use axum::extract::{Path, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{StatusCode, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

pub(crate) const USERNAME: &str = "demo@appstoresandbox";
pub(crate) const PASSWORD: &str = "sandbox-alis-password";

/// The default number of residents on a page.
const PAGE_SIZE: usize = 100;

#[derive(Clone)]
pub(crate) struct Alis(Arc<Inner>);

struct Inner {
    journal: Arc<Journal>,
    state: RwLock<Overrides>,
}

/// The changes made through control routes.
struct Overrides {
    residents: BTreeMap<i64, Object>,
    /// Leaves by id; `None` when one was deleted.
    leaves: BTreeMap<String, Option<Object>>,
    credentials: Vec<Credentials>,
}

/// A change made through a control route, as the journal stores it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    Resident { id: i64, facts: Object },
    Leave { id: String, leave: Option<Object> },
    Credentials(Credentials),
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Credentials {
    username: String,
    password: String,
}

impl Alis {
    pub(crate) fn new(journal: Arc<Journal>) -> Self {
        let known = Credentials { username: USERNAME.to_owned(), password: PASSWORD.to_owned() };
        let state = Overrides { residents: BTreeMap::new(), leaves: BTreeMap::new(), credentials: vec![known] };
        Self(Arc::new(Inner { journal, state: RwLock::new(state) }))
    }

    /// Applies a change from the journal.
    pub(crate) fn apply(&self, change: Change) {
        let mut state = self.0.state.write().unwrap_or_else(PoisonError::into_inner);
        match change {
            Change::Resident { id, facts } => state.residents.entry(id).or_default().extend(facts),
            Change::Leave { id, leave } => {
                state.leaves.insert(id, leave);
            }
            Change::Credentials(credentials) => {
                state.credentials.retain(|known| known.username != credentials.username);
                state.credentials.push(credentials);
            }
        }
    }

    fn change(&self, change: Change) -> Result<(), Refusal> {
        self.0.journal.append(&[Line::Alis(change.clone())]).map_err(|error| Refusal::not_kept(&error))?;
        self.apply(change);
        Ok(())
    }

    fn state(&self) -> RwLockReadGuard<'_, Overrides> {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn knows(&self, request: &Request) -> bool {
        let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token =
            header.and_then(|text| text.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
        let given = token.and_then(|(_, token)| String::from_utf8(STANDARD.decode(token.trim()).ok()?).ok());
        let Some((username, password)) = given.as_deref().and_then(|pair| pair.split_once(':')) else { return false };
        self.state().credentials.iter().any(|known| known.username == username && known.password == password)
    }
}

impl Overrides {
    fn resident(&self, id: i64) -> Option<Object> {
        let facts = self.residents.get(&id);
        let mut resident = match people::resident(id) {
            Some(made_up) => made_up,
            None => facts.map(|_| Object::from_iter([("residentId".to_owned(), json!(id))]))?,
        };
        resident.extend(facts.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())));
        Some(resident)
    }

    fn leave(&self, id: &str) -> Option<Object> {
        match self.leaves.get(id) {
            Some(told) => told.clone(),
            None => people::leave(people::resident_on_leave(id)?),
        }
    }

    fn leaves_of(&self, resident: i64) -> Vec<Object> {
        let made_up = people::leave(resident).filter(|leave| !self.leaves.contains_key(&leave["leaveId"].to_string()));
        let told = self.leaves.values().flatten().filter(|leave| leave.get("residentId") == Some(&json!(resident)));
        made_up.into_iter().chain(told.cloned()).collect()
    }
}

/// ALIS's paths, and its control routes.
pub(crate) fn routes(alis: &Alis) -> Router {
    const BASE: &str = "/alis/v1/integration";
    let of_resident = |part: &str| format!("{BASE}/residents/{{id}}{part}");
    Router::new()
        .route(&format!("{BASE}/residents"), get(list_residents))
        .route(&of_resident(""), get(resident))
        .route(&of_resident("/{part}"), get(part_of_resident))
        .route(&format!("{BASE}/leaves/{{id}}"), get(leave))
        .route(&format!("{BASE}/communities"), get(communities))
        .layer(middleware::from_fn_with_state(alis.clone(), guard))
        .route("/_sandbox/alis/residents/{id}", put(tell_resident))
        .route("/_sandbox/alis/leaves/{id}", put(tell_leave).delete(delete_leave))
        .route("/_sandbox/alis/credentials", post(add_credentials))
        .with_state(alis.clone())
}

async fn guard(State(alis): State<Alis>, request: Request, next: Next) -> Response {
    if alis.knows(&request) {
        return next.run(request).await;
    }
    let answer =
        Refusal::new(StatusCode::UNAUTHORIZED, json!({"message": "Authorization has been denied for this request."}));
    ([(header::WWW_AUTHENTICATE, "Basic realm=\"ALIS\"")], answer).into_response()
}

async fn resident(State(alis): State<Alis>, Path(id): Path<String>) -> Result<Json<Object>, Refusal> {
    let id = id.parse().map_err(|_| not_found())?;
    alis.state().resident(id).map(Json).ok_or_else(not_found)
}

async fn part_of_resident(
    State(alis): State<Alis>,
    Path((id, part)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    let id = id.parse().map_err(|_| not_found())?;
    let state = alis.state();
    let resident = state.resident(id).ok_or_else(not_found)?;
    Ok(Json(match part.as_str() {
        "basicInfo" => people::basic_info(&resident),
        "leaves" => people::listed(id, "Leaves", state.leaves_of(id).into_iter().map(Value::Object).collect()),
        "insurance" => people::listed(id, "Insurance", people::insurance(id)),
        "roomAssignments" => people::listed(id, "RoomAssignments", people::room_assignments(&resident)),
        "contacts" => people::listed(id, "Contacts", people::contacts(id)),
        "diagnosesAndAllergies" => people::diagnoses_and_allergies(id),
        _ => return Err(not_found()),
    }))
}

async fn leave(State(alis): State<Alis>, Path(id): Path<String>) -> Result<Json<Object>, Refusal> {
    alis.state().leave(&id).map(Json).ok_or_else(not_found)
}

async fn communities(Query(query): Query<HashMap<String, String>>) -> Json<Value> {
    let wanted = query.get("companyKey");
    let fitting = COMMUNITIES.iter().filter(|community| wanted.is_none_or(|company| community.company == company));
    Json(fitting.map(|community| community.to_json()).collect())
}

/// Pages count from 1.
async fn list_residents(
    State(alis): State<Alis>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, Refusal> {
    let bad = |name: &str| Refusal::new(StatusCode::BAD_REQUEST, json!({"message": format!("{name} is not valid.")}));
    let number = |name: &str, default: usize| match query.get(name) {
        None => Ok(default),
        Some(text) => text.parse().ok().filter(|number| *number > 0).ok_or_else(|| bad(name)),
    };
    let (page, size) = (number("page", 1)?, number("pageSize", PAGE_SIZE)?);
    let company = query.get("companyKey").ok_or_else(|| bad("companyKey"))?;

    let state = alis.state();
    let ids: BTreeSet<i64> = people::listed_ids().chain(state.residents.keys().copied()).collect();
    let fits = |resident: &Object| {
        let text = |name: &str| resident.get(name).map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
        text("companyKey").as_deref() == Some(company)
            && query.get("communityId").is_none_or(|id| text("communityId").as_ref() == Some(id))
            && query
                .get("status")
                .is_none_or(|status| text("status").is_some_and(|text| text.eq_ignore_ascii_case(status)))
    };
    let residents: Vec<_> = ids.into_iter().filter_map(|id| state.resident(id)).filter(fits).collect();
    let pages = residents.len().div_ceil(size);
    let shown: Vec<_> = residents.into_iter().skip((page - 1).saturating_mul(size)).take(size).collect();
    Ok(Json(json!({"Residents": shown, "Page": page, "TotalPages": pages, "HasMore": page < pages})))
}

/// Merges members into a resident, which is created if unknown. Returns the merged resident.
#[expect(clippy::disallowed_methods, reason = "a stand-in for another company's service has that company's clock")]
async fn tell_resident(
    State(alis): State<Alis>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Option<Object>>, Refusal> {
    let id = id.parse().map_err(|_| Refusal::bad_control("id", "a whole number is required"))?;
    let mut facts: Object = control_body(&body)?;
    facts.entry("updatedAtUtc").or_insert_with(|| json!(format!("{:.3}", Timestamp::now())));
    alis.change(Change::Resident { id, facts })?;
    Ok(Json(alis.state().resident(id)))
}

/// Creates or replaces a leave.
async fn tell_leave(State(alis): State<Alis>, Path(id): Path<String>, body: Bytes) -> Result<Json<Object>, Refusal> {
    let mut leave: Object = control_body(&body)?;
    if !leave.get("residentId").is_some_and(Value::is_i64) {
        return Err(Refusal::bad_control("residentId", "a whole number is required"));
    }
    let number = id.parse::<i64>().map_or_else(|_| json!(id), |number| json!(number));
    leave.entry("leaveId").or_insert(number);
    alis.change(Change::Leave { id, leave: Some(leave.clone()) })?;
    Ok(Json(leave))
}

async fn delete_leave(State(alis): State<Alis>, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    alis.change(Change::Leave { id, leave: None })?;
    Ok(StatusCode::NO_CONTENT)
}

/// Adds credentials with access to everything, or replaces the password of a known user.
async fn add_credentials(State(alis): State<Alis>, body: Bytes) -> Result<StatusCode, Refusal> {
    alis.change(Change::Credentials(control_body(&body)?))?;
    Ok(StatusCode::CREATED)
}

fn not_found() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, json!({"message": "No such resource."}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Client;

    async fn get(client: &Client, path: &str) -> (u16, Value) {
        let answer = client.get(&format!("/alis/v1/integration/{path}")).await.unwrap();
        (answer.status, answer.json)
    }

    #[tokio::test]
    async fn only_known_pairs_may_read() {
        let (_, client) = Client::start().await;
        let path = "/alis/v1/integration/residents/5001";
        let status = async |pair: &str| {
            let header = format!("Authorization: Basic {}\r\n", STANDARD.encode(pair));
            client.raw("GET", path, &header, "").await.unwrap().status
        };
        let added = json!({"username": "ward@harborpoint", "password": "p:w"});
        assert_eq!(client.raw("GET", path, "", "").await.unwrap().status, 401);
        assert_eq!(status("ward@harborpoint:p:w").await, 401);
        assert_eq!(client.post("/_sandbox/alis/credentials", &added).await.unwrap().status, 201);
        assert_eq!(status("ward@harborpoint:p:w").await, 200);
        assert_eq!(status(&format!("{USERNAME}:wrong")).await, 401);
        assert_eq!(status(&format!("{USERNAME}:{PASSWORD}")).await, 200);
    }

    #[tokio::test]
    async fn residents_of_the_load_range_exist_and_stay_the_same() {
        let (_, client) = Client::start().await;
        let (status, resident) = get(&client, "residents/1000007").await;
        assert_eq!((status, &resident["residentId"]), (200, &json!(1_000_007)));
        assert!(resident["updatedAtUtc"].is_string());
        assert_eq!(get(&client, "residents/1000007").await.1, resident);
        for unknown in
            ["residents/9", "residents/2000000", "residents/x", "residents/9/basicInfo", "residents/5001/x", "leaves/1"]
        {
            assert_eq!(get(&client, unknown).await.0, 404, "{unknown}");
        }
        for part in ["basicInfo", "leaves", "insurance", "roomAssignments", "contacts", "diagnosesAndAllergies"] {
            assert_eq!(get(&client, &format!("residents/5001/{part}")).await.0, 200, "{part}");
        }
    }

    #[tokio::test]
    async fn a_resident_moves_when_told() {
        let (_, client) = Client::start().await;
        assert_eq!(get(&client, "residents/5001").await.1["rooms"][0]["room"], "12");
        let facts = json!({"rooms": [{"room": "14 B", "isPrimary": true}]});
        let told = client.call("PUT", "/_sandbox/alis/residents/5001", Some(&facts)).await.unwrap();
        let (_, resident) = get(&client, "residents/5001").await;
        assert_eq!(resident, told.json);
        assert_eq!((&resident["rooms"], &resident["status"]), (&facts["rooms"], &json!("CurrentResident")));
        assert_eq!(get(&client, "residents/5001/basicInfo").await.1["rooms"], facts["rooms"]);

        let stranger = json!({"companyKey": "elsewhere", "firstName": "Uma"});
        client.call("PUT", "/_sandbox/alis/residents/8100", Some(&stranger)).await.unwrap();
        let (_, page) = get(&client, "residents?companyKey=elsewhere").await;
        assert_eq!(page["Residents"][0]["residentId"], 8100);
    }

    #[tokio::test]
    async fn leaves_are_made_up_told_and_deleted() {
        let (_, client) = Client::start().await;
        let leaves = async |resident: i64| get(&client, &format!("residents/{resident}/leaves")).await.1;
        let open = leaves(5005).await["Leaves"][0].clone();
        assert_eq!(get(&client, &format!("leaves/{}", open["leaveId"])).await.1, open);
        assert_eq!(get(&client, "residents/5005").await.1["isOnLeave"], true);

        let told = json!({"residentId": 5002, "startDate": "2026-01-02", "reason": "Hospital"});
        client.call("PUT", "/_sandbox/alis/leaves/44", Some(&told)).await.unwrap();
        assert_eq!(get(&client, "leaves/44").await.1["reason"], "Hospital");
        assert_eq!(leaves(5002).await[0]["leaveId"], 44);
        for id in ["44".to_owned(), open["leaveId"].to_string()] {
            client.call("DELETE", &format!("/_sandbox/alis/leaves/{id}"), None).await.unwrap();
            assert_eq!(get(&client, &format!("leaves/{id}")).await.0, 404);
        }
        assert_eq!((leaves(5002).await, leaves(5005).await), (json!([]), json!({"Leaves": []})));
        let refused = client.call("PUT", "/_sandbox/alis/leaves/45", Some(&json!({}))).await.unwrap();
        assert_eq!((refused.status, &refused.json["field"]), (400, &json!("residentId")));
    }

    #[tokio::test]
    async fn the_listing_pages_through_a_company() {
        let (_, client) = Client::start().await;
        let mut seen = Vec::new();
        for page in 1..=3 {
            let (_, answer) = get(&client, &format!("residents?companyKey=harborpoint&page={page}&pageSize=15")).await;
            seen.extend(answer["Residents"].as_array().unwrap().iter().map(|one| one["residentId"].clone()));
            assert_eq!((&answer["TotalPages"], &answer["HasMore"]), (&json!(3), &json!(page < 3)));
        }
        assert_eq!(seen.len(), 40);
        let count = async |query: &str| {
            get(&client, &format!("residents?companyKey={query}")).await.1["Residents"].as_array().unwrap().len()
        };
        assert_eq!(count("nobody").await, 0);
        assert_eq!(count("harborpoint&communityId=77").await, 14);
        assert!((1..40).contains(&count("appstoresandbox&status=currentresident").await));
        assert_eq!(get(&client, "residents?companyKey=k&page=0").await.0, 400);
        assert_eq!(get(&client, "communities").await.1.as_array().unwrap().len(), 6);
    }
}
