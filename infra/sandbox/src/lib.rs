//! Stand-ins for third parties, so that every workflow runs on one machine without an account anywhere.
//!
//! Each third party is one module that implements its API below its own path: ALIS below `/alis`, Caspio below `/caspio`,
//! the marketplaces and the providers of notifications below their names. A new one adds a module, a line in
//! [`Sandbox::router`], its variables in [`Sandbox::settings`], and, if its state should survive a restart, an arm in
//! [`Sandbox::open`].
//!
//! Below `/_sandbox` are the control routes for tests and demonstrations: the [`ledger`](Sandbox::ledger) of every effect that was
//! carried out, counts of calls, [`Faults`] to inject, and each third party's own controls. All people and values in
//! here are invented.

mod alis;
mod answer;
mod caspio;
mod faults;
mod journal;
mod ledger;
mod marketplaces;
mod notify;
#[cfg(test)]
mod testing;
mod traffic;
mod wildcard;

use axum::routing::get;
use axum::serve::ListenerExt as _;
use axum::{Json, Router, middleware};
use http::{HeaderMap, header};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;

pub use faults::{BadRule, Fault, Faults, Rule, When};
pub use journal::OpenError;
pub use ledger::{Effect, Entry, Operation};

use journal::{Journal, Line};
use ledger::Ledger;
use traffic::{Calls, Traffic};

/// How a sandbox is opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where rows, ledger and controlled changes are stored; `None` stores them in memory. One sandbox per directory.
    pub state_dir: Option<PathBuf>,
}

/// All the stand-ins, with their state. Clones share it.
#[derive(Clone)]
pub struct Sandbox {
    ledger: Arc<Ledger>,
    faults: Arc<Faults>,
    calls: Arc<Calls>,
    alis: alis::Alis,
    caspio: caspio::Caspio,
    marketplaces: marketplaces::Marketplaces,
    notify: notify::Notify,
}

impl Sandbox {
    /// Opens a sandbox, with the state that an earlier one left in the same directory.
    ///
    /// # Errors
    /// The directory cannot be used, or its journal is invalid. A torn last line is cut off.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let (journal, lines) = Journal::open(options.state_dir.as_deref())?;
        let journal = Arc::new(journal);
        let ledger = Arc::new(Ledger::new(Arc::clone(&journal)));
        let sandbox = Self {
            alis: alis::Alis::new(Arc::clone(&journal)),
            caspio: caspio::Caspio::new(Arc::clone(&ledger)),
            notify: notify::Notify::new(Arc::clone(&ledger)),
            ledger,
            faults: Arc::new(Faults::new(journal)),
            marketplaces: marketplaces::Marketplaces::default(),
            calls: Arc::default(),
        };
        for line in lines {
            match line {
                Line::Effect(entry) => {
                    sandbox.ledger.replay(&entry);
                    sandbox.notify.replay(&entry.effect);
                    if entry.effect.service == caspio::SERVICE {
                        sandbox.caspio.replay(entry.effect);
                    }
                }
                Line::LedgerCleared => sandbox.ledger.replay_clear(),
                Line::Alis(change) => sandbox.alis.apply(change),
                Line::Faults(rules) => sandbox.faults.replay(rules),
            }
        }
        Ok(sandbox)
    }

    /// All routes of the sandbox, for a host to serve on a port of its own or below a path.
    pub fn router(&self) -> Router {
        let traffic = Traffic { faults: Arc::clone(&self.faults), calls: Arc::clone(&self.calls) };
        Router::new()
            .route("/", get(index))
            .route("/_sandbox/health", get(health))
            .route("/_sandbox/settings", get(settings))
            .merge(alis::routes(&self.alis))
            .merge(caspio::routes(&self.caspio))
            .merge(marketplaces::routes(&self.marketplaces))
            .merge(notify::routes(&self.notify))
            .merge(ledger::routes(Arc::clone(&self.ledger)))
            .merge(faults::routes(Arc::clone(&self.faults)))
            .merge(traffic::routes(Arc::clone(&self.calls)))
            .layer(middleware::from_fn_with_state(traffic, traffic::observe))
    }

    /// Serves [`router`](Self::router) until the process ends.
    ///
    /// # Errors
    /// The listener fails.
    pub async fn serve(self, listener: TcpListener) -> std::io::Result<()> {
        // Without it, small responses wait for the client's delayed acknowledgement.
        let listener = listener.tap_io(|connection| {
            if let Err(error) = connection.set_nodelay(true) {
                tracing::debug!(%error, "a connection stays slow");
            }
        });
        axum::serve(listener, self.router()).await
    }

    /// Every effect that was carried out, oldest first.
    pub fn ledger(&self) -> Vec<Entry> {
        self.ledger.entries()
    }

    /// The active faults.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The settings that make functions call the sandbox at `base_url` (without a slash at its end).
    pub fn settings(base_url: &str) -> Vec<(&'static str, String)> {
        let caspio = format!("{base_url}/caspio");
        vec![
            ("ALIS_API_BASE", format!("{base_url}/alis")),
            ("ALIS_TEST_USERNAME", alis::USERNAME.to_owned()),
            ("ALIS_TEST_PASSWORD", alis::PASSWORD.to_owned()),
            ("ALIS_SANDBOX_COMPANIES", alis::COMPANIES.join(",")),
            ("CASPIO_TOKEN_URL", format!("{caspio}/oauth/token")),
            ("CASPIO_TABLE_ENDPOINT", format!("{caspio}/integrations/rest/v3/tables/Residents_API/records")),
            ("CASPIO_BASE_URL", caspio),
            ("CASPIO_CLIENT_ID", caspio::CLIENT_ID.to_owned()),
            ("CASPIO_CLIENT_SECRET", caspio::CLIENT_SECRET.to_owned()),
            ("ETSY_BASE_URL", format!("{base_url}/etsy")),
            ("ETSY_TOKEN_URL", format!("{base_url}/etsy/token")),
            ("SHOPIFY_BASE_URL_TEMPLATE", format!("{base_url}/shopify/{{shop}}")),
            ("AMAZON_BASE_URL", format!("{base_url}/amazon")),
            ("AMAZON_TOKEN_URL", format!("{base_url}/amazon/token")),
            ("ETSY_CLIENT_ID", marketplaces::ETSY_CLIENT_ID.to_owned()),
            ("ETSY_SHARED_SECRET", marketplaces::ETSY_SHARED_SECRET.to_owned()),
            ("ETSY_WEBHOOK_SECRET", marketplaces::ETSY_WEBHOOK_SECRET.to_owned()),
            ("SHOPIFY_APP_SECRET", marketplaces::SHOPIFY_APP_SECRET.to_owned()),
            ("AMAZON_CLIENT_ID", marketplaces::AMAZON_CLIENT_ID.to_owned()),
            ("AMAZON_CLIENT_SECRET", marketplaces::AMAZON_CLIENT_SECRET.to_owned()),
            ("TELEGRAM_BASE_URL", format!("{base_url}/telegram")),
            ("WHATSAPP_BASE_URL", format!("{base_url}/whatsapp")),
            ("SES_BASE_URL", format!("{base_url}/ses")),
            ("SLACK_BASE_URL", format!("{base_url}/slack")),
            ("CASPIO_SCOPE", "resources:all".to_owned()),
            ("WEBHOOK_BASIC_USER", "alis".to_owned()),
            ("WEBHOOK_BASIC_PASS", "webhook-demo-password".to_owned()),
            ("ADMIN_BASIC_USER", "admin".to_owned()),
            ("ADMIN_BASIC_PASS", "admin-demo-password".to_owned()),
            ("IP_ALLOWLIST", "127.0.0.1/32,::1/128".to_owned()),
        ]
    }
}

async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// The settings that make functions call this sandbox, with the host of the request.
async fn settings(headers: HeaderMap) -> Json<BTreeMap<&'static str, String>> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1:3003");
    Json(Sandbox::settings(&format!("http://{host}")).into_iter().collect())
}

async fn index() -> Json<Value> {
    Json(json!({
        "sandbox": "stand-ins for third parties; all people and values are invented",
        "services": {
            "alis": "/alis/v1/integration",
            "caspio": "/caspio/integrations/rest/v3/tables/{table}/records",
            "etsy": "/etsy/v3/application/shops/{shop}/receipts/{receipt}",
            "shopify": "/shopify/{shop}/admin/api/{version}/graphql.json",
            "amazon": "/amazon/orders/2026-01-01/orders/{order}",
            "telegram": "/telegram/bot{token}/sendMessage",
            "whatsapp": "/whatsapp/{version}/{number}/messages",
            "ses": "/ses/v2/email/outbound-emails",
            "slack": "/slack/services/{team}/{app}/{token}",
        },
        "control": {
            "GET /_sandbox/health": "whether it runs",
            "GET /_sandbox/settings": "what points a product here",
            "GET|DELETE /_sandbox/ledger": "effects; ?service= &table= &after= &limit= &count",
            "GET|DELETE /_sandbox/calls": "how often each route was called, by outcome",
            "GET|POST|DELETE /_sandbox/faults": "rules; also /_sandbox/faults/{id} and /_sandbox/faults/seed",
            "PUT /_sandbox/alis/residents/{id}": "merge facts into a resident",
            "PUT|DELETE /_sandbox/alis/leaves/{id}": "a leave",
            "POST /_sandbox/alis/credentials": "a further pair that may read",
            "GET /_sandbox/caspio/{table}": "all rows",
            "DELETE /_sandbox/caspio/tokens": "expire every token",
            "PUT /_sandbox/marketplaces/orders/{name}": "what an order costs, in thousandths",
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Client, scratch_directory};
    use serde_json::json;
    use std::fs;
    use std::io::Write as _;

    const RECORDS: &str = "/caspio/integrations/rest/v3/tables/Residents_API/records";
    const RESIDENT: &str = "/alis/v1/integration/residents/5001";

    #[tokio::test]
    async fn a_status_fault_responds_without_doing_the_work() {
        let (sandbox, client) = Client::start().await;
        let rule = json!({"path": RECORDS, "method": "POST", "contains": "harbor", "kind": "status", "status": 429,
            "retry_after": 7, "count": 1});
        let answer = client.post("/_sandbox/faults", &rule).await.unwrap();
        assert_eq!((answer.status, &answer.json["id"]), (201, &json!(1)));

        let (harbor, other) = (json!({"companyKey": "harborpoint"}), json!({"companyKey": "other"}));
        assert_eq!(client.post(RECORDS, &other).await.unwrap().status, 201);
        let answer = client.post(RECORDS, &harbor).await.unwrap();
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("7")));
        assert_eq!(client.post(RECORDS, &harbor).await.unwrap().status, 201);
        assert_eq!(sandbox.ledger().len(), 2);
        assert_eq!(client.get("/_sandbox/faults").await.unwrap().json["faults"][0]["hits"], 1);
    }

    #[tokio::test]
    async fn a_lost_answer_is_work_done_and_not_told() {
        let (sandbox, client) = Client::start().await;
        let rule = json!({"path": RECORDS, "kind": "lost_answer", "count": 1});
        client.post("/_sandbox/faults", &rule).await.unwrap();
        assert!(client.post(RECORDS, &json!({"companyKey": "k"})).await.is_err());
        assert_eq!(client.post(RECORDS, &json!({"companyKey": "k"})).await.unwrap().status, 201);
        let answered: Vec<_> = sandbox.ledger().iter().map(|entry| entry.effect.answered).collect();
        assert_eq!(answered, [false, true]);
    }

    #[tokio::test]
    async fn a_reset_is_neither_work_nor_answer() {
        let (sandbox, client) = Client::start().await;
        sandbox.faults().add(Rule {
            path: "*/records".to_owned(),
            method: None,
            contains: None,
            fault: Fault::Reset,
            when: When::Next(1),
        });
        assert!(client.post(RECORDS, &json!({"companyKey": "k"})).await.is_err());
        assert!(sandbox.ledger().is_empty());
        let calls = client.get("/_sandbox/calls").await.unwrap().json;
        assert_eq!(calls["calls"][0]["status"], "reset");
        assert_eq!(calls["calls"][0]["route"], "/caspio/integrations/rest/v3/tables/{table}/records");
    }

    #[tokio::test]
    async fn a_delay_is_carried_out_even_when_the_caller_has_left_and_a_timeout_never() {
        let (sandbox, client) = Client::start().await;
        let rules = json!([
            {"path": RECORDS, "contains": "late", "kind": "delay", "delay_ms": 200},
            {"path": RECORDS, "contains": "never", "kind": "timeout"},
        ]);
        client.post("/_sandbox/faults", &rules).await.unwrap();
        for company in ["late", "never"] {
            assert!(client.post_and_leave(RECORDS, &json!({"companyKey": company})).await);
        }
        let started = std::time::Instant::now();
        client.post(RECORDS, &json!({"companyKey": "late"})).await.unwrap();
        assert!(started.elapsed().as_millis() >= 200);
        let companies: Vec<_> =
            sandbox.ledger().iter().map(|entry| entry.effect.record["companyKey"].clone()).collect();
        assert_eq!(companies, ["late", "late"]);
    }

    #[tokio::test]
    async fn control_routes_and_the_index_are_never_struck() {
        let (sandbox, client) = Client::start().await;
        let answer = client.post("/_sandbox/faults", &json!({"path": "/", "kind": "reset", "share": 3})).await.unwrap();
        assert_eq!((answer.status, &answer.json["field"]), (400, &json!("share")));
        client.post("/_sandbox/faults", &json!({"path": "*", "kind": "reset"})).await.unwrap();
        for path in ["/", "/_sandbox/health", "/_sandbox/ledger"] {
            assert_eq!(client.get(path).await.unwrap().status, 200, "{path}");
        }
        assert!(client.get(RESIDENT).await.is_err());
        sandbox.faults().clear();
        assert_eq!(client.get(RESIDENT).await.unwrap().status, 200);
    }

    #[tokio::test]
    async fn the_ledger_filters_pages_and_clears() {
        let (_, client) = Client::start().await;
        for company in ["a", "b", "c"] {
            client.post(RECORDS, &json!({"companyKey": company})).await.unwrap();
        }
        let seqs = async |query: &str| {
            let page = client.get(&format!("/_sandbox/ledger{query}")).await.unwrap().json;
            let seqs = page["entries"].as_array().unwrap().iter().map(|entry| entry["seq"].as_u64().unwrap()).collect();
            (page["count"].as_u64().unwrap(), seqs)
        };
        assert_eq!(seqs("").await, (3, vec![1, 2, 3]));
        assert_eq!(seqs("?limit=2").await, (3, vec![2, 3]));
        assert_eq!(seqs("?after=1&limit=1").await, (2, vec![2]));
        assert_eq!(seqs("?service=alis").await, (0, vec![]));
        assert_eq!(client.get("/_sandbox/ledger?count").await.unwrap().json, json!({"count": 3}));
        assert_eq!(client.get("/_sandbox/ledger?limit=x").await.unwrap().status, 400);
        assert_eq!(client.call("DELETE", "/_sandbox/ledger", None).await.unwrap().status, 204);
        client.post(RECORDS, &json!({"companyKey": "d"})).await.unwrap();
        assert_eq!(seqs("?table=Residents_API").await, (1, vec![4]));
    }

    #[tokio::test]
    async fn state_survives_a_torn_last_line() {
        let directory = scratch_directory();
        let options = Options { state_dir: Some(directory.clone()) };
        let client = Client::of(&Sandbox::open(options.clone()).unwrap()).await;
        for resident in [1, 2, 3] {
            client.post(RECORDS, &json!({"companyKey": "k", "alisResidentId": resident})).await.unwrap();
        }
        let of = |resident: i64| format!("{RECORDS}?q.where=companyKey%3D'k'%20AND%20alisResidentId%3D{resident}");
        client.call("PUT", &of(1), Some(&json!({"room": "12"}))).await.unwrap();
        client.call("DELETE", &of(3), None).await.unwrap();
        client.call("DELETE", "/_sandbox/ledger", None).await.unwrap();
        client.call("PUT", "/_sandbox/alis/residents/5001", Some(&json!({"status": "Moved"}))).await.unwrap();
        client.call("PUT", &of(2), Some(&json!({"room": "14"}))).await.unwrap();
        let journal = directory.join("journal.jsonl");
        fs::File::options().append(true).open(&journal).unwrap().write_all(b"{\"effect\":{\"seq\":7,").unwrap();

        // The second time, what the torn line left must not stand in the way.
        for _ in 0..2 {
            let reopened = Sandbox::open(options.clone()).unwrap();
            let client = Client::of(&reopened).await;
            let rows = client.get("/_sandbox/caspio/Residents_API").await.unwrap().json["rows"].clone();
            let rooms: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["room"].clone()).collect();
            assert_eq!(rooms, ["12", "14"]);
            assert_eq!(reopened.ledger()[0].seq, 6);
            assert_eq!(client.get(RESIDENT).await.unwrap().json["status"], "Moved");
        }
        let reopened = Client::of(&Sandbox::open(options.clone()).unwrap()).await;
        reopened.post(RECORDS, &json!({"companyKey": "k"})).await.unwrap();
        assert_eq!(Sandbox::open(options.clone()).unwrap().ledger().last().unwrap().seq, 7);

        let text = fs::read_to_string(&journal).unwrap();
        fs::write(&journal, text.replacen('{', "", 1)).unwrap();
        assert!(matches!(Sandbox::open(options), Err(OpenError::Line { line: 1, .. })));
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn settings_have_no_blanks() {
        let settings = Sandbox::settings("http://127.0.0.1:8083");
        assert!(settings.iter().all(|(name, value)| !name.is_empty() && !value.is_empty()));
        assert!(settings.contains(&("ALIS_API_BASE", "http://127.0.0.1:8083/alis".to_owned())));
    }
}
