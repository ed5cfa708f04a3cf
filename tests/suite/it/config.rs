//! A wrong or missing setting stops a function's start and is named.

use serde_json::json;
use std::process::Command;
use switchyard_signals::users::UserDeps;
use switchyard_tests::client::unique;
use switchyard_tests::root;
use switchyard_tests::stack::Stack;

/// Runs a function's binary with the shared stack's settings, some of them changed; returns what it said before it
/// ended. It must end by itself, for the Runtime API it is given does not exist.
fn start(function: &str, changes: &[(&str, Option<&str>)]) -> (bool, String) {
    let stack = Stack::shared().expect("the stack starts");
    let functions = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = switchyard_tests::client::Client::new(stack).unwrap();
        runtime.block_on(async { client.local_functions().await.unwrap() })
    });
    let functions = functions.join().unwrap();
    let known = switchyard_tests::process::functions(&root()).unwrap();
    let (_, binary) = known.into_iter().find(|(name, _)| name == function).expect("the template has the function");
    let target = root().join("target").join("debug").join(&binary);
    let binary = std::env::current_exe()
        .unwrap()
        .ancestors()
        .find(|path| path.ends_with("debug"))
        .map_or(target, |folder| folder.join(&binary));
    let mut command = Command::new(binary);
    command.env_clear().env("AWS_REGION", "us-east-1").env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "x");
    command.env("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1").env("AWS_LAMBDA_FUNCTION_NAME", function);
    command.env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128").env("AWS_LAMBDA_FUNCTION_VERSION", "1");
    for (name, value) in functions[function]["environment"].as_object().unwrap() {
        command.env(name, value.as_str().unwrap());
    }
    for (name, value) in changes {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), said)
}

#[test]
fn every_setting_that_is_needed_is_named_when_it_is_missing_or_wrong() {
    for (function, name, value) in [
        ("adt-webhook", "ADT_TABLE", None),
        ("adt-webhook", "ADT_QUEUE_URL", None),
        ("adt-webhook", "ADT_WEBHOOK_SECRET", None),
        ("adt-webhook", "ALIS_SANDBOX_SECRET", None),
        ("adt-webhook", "ALIS_API_BASE", Some("not an address")),
        ("adt-consumer", "ADT_TABLE", Some(" ")),
        ("adt-consumer", "ADT_QUEUE_URL", None),
        ("adt-consumer", "ALIS_API_BASE", None),
        ("adt-consumer", "ALIS_SECRET_PREFIX", None),
        ("adt-consumer", "CASPIO_TOKEN_URL", Some("ftp://x")),
        ("adt-consumer", "CASPIO_TABLE_ENDPOINT", None),
        ("adt-consumer", "CASPIO_SECRET", Some("no-such-secret")),
        ("adt-consumer", "CASPIO_TIMEOUT_MS", Some("soon")),
        ("adt-consumer", "REQUEST_TIMEOUT_MS", Some("-1")),
        ("adt-consumer", "QUEUE_MAX_RECEIVES", Some("five")),
        ("order-consumer", "QUEUE_MAX_RECEIVES", None),
        ("callback-consumer", "WORKER_CONCURRENCY", Some("0")),
        ("rules-consumer", "WORKER_CONCURRENCY", None),
        ("notify-consumer", "QUEUE_RETRY_BASE_MS", None),
        ("adt-sweep", "ADT_TABLE", None),
        ("orders-sweep", "ORDERS_TABLE", None),
        ("callbacks-sweep", "CALLBACK_QUEUE_URL", None),
        ("signals-sweep", "SIGNALS_TABLE", None),
        ("adt-sweep", "SWEEP_WORKFLOW", None),
        ("orders-sweep", "SWEEP_WORKFLOW", Some("sales")),
        ("callbacks-sweep", "DLQS", None),
        ("ops-api", "DLQS", Some("no address")),
        ("ops-api", "DEAD_LETTER_TABLES", Some("adt=adt:AdtTable")),
        ("events-api", "JWT_SECRET", Some("no-such-secret")),
    ] {
        let (ended_well, said) = start(function, &[(name, value)]);
        assert!(!ended_well, "{function} started without {name}");
        assert!(said.contains(name), "{function} does not name {name}: {said}");
    }
}

#[tokio::test]
async fn nothing_starts_with_a_secret_for_tokens_that_anybody_could_guess() {
    let (aws, client) = super::aws().await;
    for (values, is_good) in [
        (json!({"JWT_KEY": "k".repeat(32)}), true),
        (json!({"JWT_KEY": "change-me"}), false),
        (json!({"JWT_KEY": "k".repeat(31)}), false),
        (json!({"JWT_KEY": "k".repeat(32), "JWT_KEY_BEFORE": "change-me"}), false),
        (json!({}), false),
    ] {
        let name = format!("it-jwt-{}", unique());
        let secret = json!({"Name": name, "SecretString": values.to_string()});
        client.aws("secretsmanager.CreateSecret", &secret).await.unwrap();
        let tables = [("SIGNALS_TABLE", "SignalsTable".to_owned()), ("IDENTITY_TABLE", "IdentityTable".to_owned())];
        let env = super::env([tables.to_vec(), vec![("JWT_SECRET", name)]].concat());
        let checked = UserDeps::from_env(&aws, &env).unwrap().tokens().warm_up().await;
        assert_eq!(checked.is_ok(), is_good, "{values}: {checked:?}");
    }
}
