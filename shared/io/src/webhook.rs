//! Calling a customer's endpoint as Standard Webhooks describes it.

use crate::http::{Answer, Http, HttpError, Method, Request, Url, answer_up_to};
use jiff::Timestamp;
use std::time::Duration;
use switchyard_core::signature::{Mismatch, signatures};

/// One request. Every attempt of a delivery has the same id and the same body.
#[derive(Clone, Copy, Debug)]
pub struct Webhook<'a> {
    /// `webhook-id`, by which a receiver knows a repetition.
    pub id: &'a str,
    /// Where to.
    pub url: &'a str,
    /// JSON, which is signed and sent byte for byte.
    pub body: &'a str,
    /// How long the receiver may take.
    pub timeout: Duration,
}

/// What an answer's status means for its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// 2xx: the receiver has it.
    Taken,
    /// Anything else may pass: a deployment, a proxy, a mistake in the receiver.
    Refused,
    /// 410: the receiver wants nothing more, ever.
    Gone,
}

impl Answered {
    /// Reads a status.
    pub fn of(status: u16) -> Self {
        match status {
            200..=299 => Self::Taken,
            410 => Self::Gone,
            _ => Self::Refused,
        }
    }
}

impl Webhook<'_> {
    /// The request with its signatures, one for each of `secrets` (`whsec_…`), ready for headers of the caller's own.
    ///
    /// # Errors
    /// A secret is not `whsec_` and base64.
    pub fn headers<'s>(
        &self,
        secrets: impl IntoIterator<Item = &'s str>,
        now: Timestamp,
    ) -> Result<[(&'static str, String); 4], Mismatch> {
        let signature = signatures(secrets, self.id, now.as_second(), self.body)?;
        Ok([
            ("content-type", "application/json".to_owned()),
            ("webhook-id", self.id.to_owned()),
            ("webhook-timestamp", now.as_second().to_string()),
            ("webhook-signature", signature),
        ])
    }

    /// Posts it with `headers` through a guarded client, and reads at most `limit` bytes of the answer.
    ///
    /// # Errors
    /// The address leads where it may not, or there was no answer.
    pub async fn post<N: AsRef<str>>(
        &self,
        http: &Http,
        service: &'static str,
        headers: impl IntoIterator<Item = (N, String)>,
        limit: usize,
    ) -> Result<Answer, HttpError> {
        let url: Url = self.url.parse().map_err(|_| HttpError::Refused { service })?;
        let request = http.request(service, Method::POST, url)?.timeout(self.timeout);
        let add = |request: Request, (name, value): (N, String)| request.header(name.as_ref(), value);
        let request = headers.into_iter().fold(request, add);
        answer_up_to(service, request.body(self.body.to_owned()), limit).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_core::signature::verify;

    #[test]
    fn v35_any_2xx_is_taken_and_410_is_for_good() {
        for status in [200, 202, 204, 299] {
            assert_eq!(Answered::of(status), Answered::Taken, "{status}");
        }
        for status in [100, 301, 302, 307, 400, 401, 403, 404, 409, 422, 429, 500, 502, 503] {
            assert_eq!(Answered::of(status), Answered::Refused, "{status}");
        }
        assert_eq!(Answered::of(410), Answered::Gone);
    }

    #[test]
    fn every_secret_in_force_signs() {
        let secrets = ["whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"];
        let webhook = Webhook { id: "d1", url: "https://acme.test/", body: "{}", timeout: Duration::ZERO };
        let now = Timestamp::from_second(1_767_607_200).unwrap();
        let headers = webhook.headers(secrets, now).unwrap();
        let of = |name: &str| &headers.iter().find(|(found, _)| *found == name).unwrap().1;
        assert_eq!(of("webhook-id"), "d1");
        for secret in secrets {
            verify(secret, "d1", of("webhook-timestamp"), of("webhook-signature"), "{}", now).unwrap();
        }
        assert!(webhook.headers(["whsec_!"], now).is_err());
    }
}
