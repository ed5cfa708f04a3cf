//! `GET /admin/dlq`, `GET /admin/dlq/{queue}`, `POST /admin/dlq/{queue}/redrive`.

use http::{HeaderValue, Method, header};
use serde::Deserialize;
use serde_json::{Value, json};
use switchyard_core::{Env, Problem, error_chain, iso_millis};
use switchyard_io::basic::Basic;
use switchyard_io::dlq::{Dead, Dlq, Dlqs};
use switchyard_io::{Aws, QueueError, Secrets};
use switchyard_lambda::{Call, Error, Reply};

/// Messages that one look shows at most.
const LOOK: u8 = 10;

/// Every route of this function; all want the operator's credentials.
pub struct Routes {
    credentials: Basic,
    dlqs: Dlqs,
}

impl Routes {
    /// Reads `DLQS`, `ADMIN_SECRET` and that secret's `ADMIN_BASIC_USER` and `ADMIN_BASIC_PASS`.
    ///
    /// # Errors
    /// A setting or a secret's value is missing; the message names it.
    pub async fn from_env(aws: &Aws, env: &Env) -> Result<Self, Error> {
        let credentials = Basic::new(Secrets::new(aws), env.required("ADMIN_SECRET")?, "ADMIN_BASIC");
        credentials.known().await?;
        Ok(Self { credentials, dlqs: Dlqs::from_env(aws, env)? })
    }

    /// Answers one request.
    pub async fn answer(&self, call: Call) -> Reply {
        let problem = |problem: Problem| call.origin.problem(&problem);
        match self.credentials.accepts(call.header(header::AUTHORIZATION)).await {
            Ok(true) => {}
            Ok(false) => return unauthorized(&call),
            Err(error) => return fault(&call, &error),
        }
        let parts: Vec<_> = call.origin.path.trim_start_matches('/').split('/').collect();
        let answered = match (&call.method, parts.as_slice()) {
            (&Method::GET, ["admin", "dlq"]) => self.list().await,
            (method, ["admin", "dlq", name, rest @ ..]) => {
                let Some(dlq) = self.dlqs.find(name) else {
                    return problem(Problem::not_found("no dead-letter queue is called so; GET /admin/dlq lists them"));
                };
                match (method, rest) {
                    (&Method::GET, []) => self.look(dlq).await,
                    (&Method::POST, ["redrive"]) => match self.redrive(dlq).await {
                        Ok(Some(reply)) => Ok(reply),
                        Ok(None) => {
                            let detail = "messages of this queue are being sent back already";
                            return problem(Problem::new(409, "redrive-running", "Conflict", detail));
                        }
                        Err(error) => Err(error),
                    },
                    (_, []) => return problem(Problem::method_not_allowed("GET")),
                    (_, ["redrive"]) => return problem(Problem::method_not_allowed("POST")),
                    _ => return problem(Problem::not_found("there is no such path")),
                }
            }
            (_, ["admin", "dlq"]) => return problem(Problem::method_not_allowed("GET")),
            _ => return problem(Problem::not_found("there is no such path")),
        };
        answered.unwrap_or_else(|error| fault(&call, &error))
    }

    async fn list(&self) -> Result<Reply, QueueError> {
        let mut queues = Vec::new();
        for dlq in self.dlqs.all() {
            queues.push(json!({"queue": dlq.name, "waiting": self.dlqs.waiting(dlq).await?}));
        }
        Ok(Reply::json(200, &json!({"queues": queues})))
    }

    async fn look(&self, dlq: &Dlq) -> Result<Reply, QueueError> {
        let (waiting, dead, redrive) =
            tokio::try_join!(self.dlqs.waiting(dlq), self.dlqs.look(dlq, LOOK), self.dlqs.progress(dlq))?;
        let redrive = redrive.map(|redrive| json!({"status": redrive.status, "moved": redrive.moved}));
        let messages: Vec<_> = dead.iter().map(about).collect();
        Ok(Reply::json(
            200,
            &json!({"queue": dlq.name, "waiting": waiting, "messages": messages, "lastRedrive": redrive}),
        ))
    }

    /// `None` while an earlier one runs: SQS takes one at a time.
    async fn redrive(&self, dlq: &Dlq) -> Result<Option<Reply>, QueueError> {
        if self.dlqs.progress(dlq).await?.is_some_and(|redrive| redrive.status == "RUNNING") {
            return Ok(None);
        }
        let waiting = self.dlqs.waiting(dlq).await?;
        self.dlqs.redrive(dlq).await?;
        tracing::info!(service = dlq.name, found = waiting, "redrive started");
        Ok(Some(Reply::json(202, &json!({"queue": dlq.name, "waiting": waiting}))))
    }
}

/// A message as it may be shown: what it is about, and never its body, which may hold people's data.
fn about(dead: &Dead) -> Value {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Head {
        id: Option<String>,
        kind: Option<String>,
        tenant: Option<String>,
    }
    let head: Head = serde_json::from_str(&dead.body).unwrap_or_default();
    json!({
        "messageId": dead.id,
        "receives": dead.receives,
        "sentAt": jiff::Timestamp::from_millisecond(dead.sent_ms).ok().map(iso_millis),
        "envelope": {"id": head.id, "kind": head.kind, "tenant": head.tenant},
    })
}

fn unauthorized(call: &Call) -> Reply {
    let problem = Problem::new(401, "unauthorized", "Unauthorized", "the operator's credentials are needed");
    call.origin
        .problem(&problem)
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"Switchyard\""))
}

/// Our own fault: the cause goes to the log, under the id that the client gets.
fn fault(call: &Call, error: &(dyn std::error::Error + 'static)) -> Reply {
    tracing::error!(error = error_chain(error), "the request could not be completed");
    call.origin.problem(&Problem::internal())
}
