//! Start-up of every function: settings, logs and the panic hook.

use crate::logs;
use switchyard_core::Env;

/// First line of every `main`: sets up logs and the panic hook, and returns the function's settings. `own` is the
/// function's `module_path!()`: its events are logged with their fields, those of third-party crates are not.
pub fn start(own: &'static str) -> Env {
    let env = Env::process();
    logs::install(&env, own);
    // A panic's message may quote data, so only its place is logged.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panicked");
    }));
    env
}
