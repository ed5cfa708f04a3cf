//! `switchyard operators`: the people who run the platform. Asks the HTTP API, with the token of a signed-in operator or, when
//! there is none, with the credentials in the stack's AdminSecret.

use crate::say;
use crate::signals::show;
use crate::target::Target;
use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;
use switchyard_core::{Secret, random};
use switchyard_identity::Basic;
use switchyard_io::Secrets;
use switchyard_io::http::{Answer, Http, Method, Url, answer};

#[derive(Args)]
pub(crate) struct Arguments {
    /// The token of a signed-in operator, as `operators sign-in` prints it [default: the stack's AdminSecret is used].
    #[arg(long, global = true, env = "SWITCHYARD_TOKEN", hide_env_values = true)]
    token: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create an operator.
    Create {
        /// The address to sign in with.
        #[arg(long)]
        email: String,
        /// What colleagues call the operator [default: the address].
        #[arg(long)]
        name: Option<String>,
        /// The password, 10 to 128 characters [default: a generated one, which is printed].
        #[arg(long, env = "SWITCHYARD_PASSWORD", hide_env_values = true)]
        password: Option<String>,
    },
    /// List operators.
    List,
    /// Disable an operator and revoke the tokens.
    Disable {
        /// The operator's address.
        email: String,
    },
    /// Enable a disabled operator.
    Enable {
        /// The operator's address.
        email: String,
    },
    /// Sign in and print a token.
    SignIn {
        /// The operator's address.
        #[arg(long)]
        email: String,
        /// The operator's password.
        #[arg(long, env = "SWITCHYARD_PASSWORD", hide_env_values = true)]
        password: String,
    },
    /// Sign out: revoke the token.
    SignOut,
}

pub(crate) async fn run(target: &Target, Arguments { token, command }: Arguments) -> Result<ExitCode> {
    let api = Api { http: Http::plain(Duration::from_secs(30))?, base: target.http_api().await? };
    match command {
        Command::SignIn { email, password } => {
            let credentials = json!({"email": email, "password": password});
            let token = api.call(Method::POST, "/admin/auth/login", None, Some(&credentials)).await?;
            say(token["accessToken"].as_str().context("the response has no accessToken")?);
        }
        Command::SignOut => {
            let token = token.context("name the token to revoke: --token or SWITCHYARD_TOKEN")?;
            api.call(Method::POST, "/admin/auth/logout", Some(&bearer(&token)), None).await?;
            say("signed out");
        }
        Command::Create { email, name, password } => {
            let given = password.is_some();
            let password = password.unwrap_or_else(|| random::uuid().simple().to_string());
            let new = json!({"email": email, "name": name.as_ref().unwrap_or(&email), "password": password});
            let credentials = credentials(target, token).await?;
            show(&api.call(Method::POST, "/admin/operators", Some(&credentials), Some(&new)).await?);
            if !given {
                say(&format!("password: {password}"));
            }
        }
        Command::List => {
            let credentials = credentials(target, token).await?;
            api.operators(&credentials).await?.iter().for_each(show);
        }
        Command::Disable { email } => set(&api, &credentials(target, token).await?, &email, "disable").await?,
        Command::Enable { email } => set(&api, &credentials(target, token).await?, &email, "enable").await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Disables or enables the operator with an address.
async fn set(api: &Api, credentials: &Secret<String>, email: &str, action: &str) -> Result<()> {
    let operators = api.operators(credentials).await?;
    let has_address =
        |operator: &&Value| operator["email"].as_str().is_some_and(|known| known.eq_ignore_ascii_case(email));
    let operator =
        operators.iter().find(has_address).with_context(|| format!("no operator has the address {email}"))?;
    let path = format!("/admin/operators/{}/{action}", operator["id"].as_str().unwrap_or_default());
    show(&api.call(Method::POST, &path, Some(credentials), None).await?);
    Ok(())
}

fn bearer(token: &str) -> Secret<String> {
    Secret::new(format!("Bearer {token}"))
}

/// The `Authorization` header of the operator's token, or of the stack's own credentials.
async fn credentials(target: &Target, token: Option<String>) -> Result<Secret<String>> {
    if let Some(token) = token {
        return Ok(bearer(&token));
    }
    let secret_id = target.settings_of("ops-api").await?.required("ADMIN_SECRET")?;
    let basic = Basic::new(Secrets::new(&target.aws().await), secret_id, "ADMIN_BASIC");
    Ok(basic.current().await.context("reading the stack's AdminSecret; or name an operator's --token")?.header())
}

struct Api {
    http: Http,
    base: String,
}

impl Api {
    /// Calls an operation and returns its response's body.
    async fn call(
        &self,
        method: Method,
        path: &str,
        authorization: Option<&Secret<String>>,
        body: Option<&Value>,
    ) -> Result<Value> {
        let address = format!("{}{path}", self.base);
        let url = Url::parse(&address).with_context(|| format!("{address} is not a URL"))?;
        let mut request = self.http.request("the HTTP API", method, url)?;
        if let Some(value) = authorization {
            request = request.header("authorization", value.expose());
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let Answer { status, body, .. } = answer("the HTTP API", request).await?;
        if !(200..300).contains(&status) {
            bail!("{path} returned {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? })
    }

    async fn operators(&self, credentials: &Secret<String>) -> Result<Vec<Value>> {
        let (mut operators, mut path) = (Vec::new(), "/admin/operators".to_owned());
        loop {
            let mut page = self.call(Method::GET, &path, Some(credentials), None).await?;
            operators.extend(page["items"].as_array_mut().map(std::mem::take).unwrap_or_default());
            match page["nextCursor"].as_str() {
                Some(cursor) => path = format!("/admin/operators?cursor={cursor}"),
                None => return Ok(operators),
            }
        }
    }
}
