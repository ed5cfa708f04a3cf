//! From the workflow's errors to refusals.

use axum::response::{IntoResponse, Response};
use switchyard_api::{Refusal, code};
use switchyard_identity::IdentityError;
use switchyard_identity::api_keys::KeyError;
use switchyard_signals::SignalsError;

/// A refusal, made of whatever error a handler meets.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Refusal);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl From<SignalsError> for Failure {
    fn from(error: SignalsError) -> Self {
        Self(match error {
            SignalsError::Refused { field, reason } => Refusal::field(format!("{field} {reason}")),
            SignalsError::Contended { .. } | SignalsError::Identity(IdentityError::Contended { .. }) => {
                Refusal::conflict()
            }
            SignalsError::TenantDeleted => Refusal::new(409, "tenant_deleted", "The tenant is deleted"),
            SignalsError::Keys(KeyError::Contended) => {
                Refusal::new(409, "conflict", "The API key was changed by another request; try again")
            }
            SignalsError::Keys(KeyError::NotActive(why)) => {
                Refusal::new(409, "key_not_active", format!("The API key {why}"))
            }
            error => Refusal::fault(&error),
        })
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::from(SignalsError::Keys(error))
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        Self::from(SignalsError::Identity(error))
    }
}

/// 409 with a code of its own.
pub(crate) fn conflict(code: &'static str, message: impl Into<String>) -> Failure {
    Failure(Refusal::new(409, code, message))
}

/// 400 about one field.
pub(crate) fn field(message: impl Into<String>) -> Failure {
    Failure(Refusal::field(message))
}

/// 404.
pub(crate) fn not_found() -> Failure {
    Failure(Refusal::new(404, code::NOT_FOUND, "Not found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_another_request_changed_is_a_conflict() {
        let Failure(refusal) = Failure::from(KeyError::Contended);
        assert_eq!((refusal.status().as_u16(), refusal.code()), (409, "conflict"));
    }
}
