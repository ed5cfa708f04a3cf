//! Identifiers: text with a type of its own, so that one kind of id cannot be passed for another.

/// Defines types of identifiers.
///
/// Each is text in JSON and in DynamoDB. It is made with `From`, which checks nothing: what a client sends is checked
/// where it is read.
///
/// ```
/// switchyard_core::id_type! {
///     /// A parcel's id.
///     pub ParcelId;
/// }
/// let id = ParcelId::from("p-1");
/// assert_eq!((id.as_str(), id.to_string()), ("p-1", "p-1".to_owned()));
/// ```
#[macro_export]
macro_rules! id_type {
    ($($(#[$meta:meta])* $visibility:vis $name:ident;)+) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(transparent)]
        $visibility struct $name(String);

        impl $name {
            /// The identifier as text.
            $visibility fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    )+};
}

id_type! {
    /// An organization: a customer of the platform, to whom stores and endpoints belong.
    pub OrganizationId;
    /// Who made a change, as audit records and logs name it: `operator:<id>`, `user:<id>`, `key:<id>`, `basic:<user>`,
    /// `cli`, or a part of the platform such as `nightly-purge`.
    pub ActorId;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_plain_text_on_the_wire() {
        let id = OrganizationId::from("org-1");
        assert_eq!(serde_json::to_string(&id).unwrap(), r#""org-1""#);
        assert_eq!(serde_json::from_str::<OrganizationId>(r#""org-1""#).unwrap(), id);
        assert_eq!((id.as_str(), id.to_string(), String::from(id.clone())), ("org-1", "org-1".into(), "org-1".into()));
        assert!(id < OrganizationId::from("org-2".to_owned()));
    }
}
