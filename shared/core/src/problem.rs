use serde_json::{Map, Value, json};

/// An HTTP error as the client sees it: RFC 9457 `application/problem+json`.
///
/// It holds public text only. What went wrong inside goes to the log, under the same `request_id`.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// HTTP status, 4xx or 5xx.
    pub status: u16,
    /// The last part of `type`, `/problems/<slug>`.
    pub slug: &'static str,
    /// What this kind of problem is called.
    pub title: &'static str,
    /// What was wrong with this request.
    pub detail: String,
    extra: Map<String, Value>,
}

impl Problem {
    /// Media type of [`Problem::to_json`].
    pub const MEDIA_TYPE: &str = "application/problem+json";

    /// A problem of the given status.
    pub fn new(status: u16, slug: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, slug, title, detail: detail.into(), extra: Map::new() }
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, "not-found", "Not Found", detail)
    }

    /// 405, naming the methods the path does take.
    pub fn method_not_allowed(allowed: &str) -> Self {
        Self::new(405, "method-not-allowed", "Method Not Allowed", format!("this path takes {allowed}"))
            .with("allow", allowed)
    }

    /// 500 that tells the client nothing.
    pub fn internal() -> Self {
        Self::new(500, "internal", "Internal Server Error", "the request could not be completed; it may be sent again")
    }

    /// Adds a member, such as the name of the offending field.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(member.to_owned(), value.into());
        self
    }

    /// The body; `instance` is the request's path.
    pub fn to_json(&self, instance: &str, request_id: &str) -> Value {
        let mut body = json!({
            "type": format!("/problems/{}", self.slug),
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "request_id": request_id,
        });
        if let Value::Object(members) = &mut body {
            members.extend(self.extra.clone());
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_carries_the_request_id_and_extra_members() {
        let body = Problem::method_not_allowed("POST").to_json("/webhook/alis", "r-1");
        assert_eq!(body["type"], "/problems/method-not-allowed");
        assert_eq!(body["allow"], "POST");
        assert_eq!(body["request_id"], "r-1");
    }
}
