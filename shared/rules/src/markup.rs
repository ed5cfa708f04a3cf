//! Mark-up of texts, and how values are escaped for it.

use std::borrow::Cow;

/// The mark-up of a text, which decides how values in it are escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Markup {
    /// Plain text: nothing is escaped.
    Plain,
    /// HTML, of emails and Telegram.
    Html,
    /// Slack's mrkdwn: `&`, `<` and `>`.
    Slack,
    /// Telegram's MarkdownV2.
    MarkdownV2,
}

impl Markup {
    /// Escapes `text`.
    pub fn escape(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::Plain => Cow::Borrowed(text),
            Self::Html => escaped(text, |letter| match letter {
                '&' => Some("&amp;"),
                '<' => Some("&lt;"),
                '>' => Some("&gt;"),
                '"' => Some("&quot;"),
                '\'' => Some("&#39;"),
                _ => None,
            }),
            Self::Slack => escaped(text, |letter| match letter {
                '&' => Some("&amp;"),
                '<' => Some("&lt;"),
                '>' => Some("&gt;"),
                _ => None,
            }),
            Self::MarkdownV2 => {
                let mut escaped = String::with_capacity(text.len());
                for letter in text.chars() {
                    if r"_*[]()~`>#+-=|{}.!\".contains(letter) {
                        escaped.push('\\');
                    }
                    escaped.push(letter);
                }
                Cow::Owned(escaped)
            }
        }
    }
}

fn escaped(text: &str, replace: impl Fn(char) -> Option<&'static str>) -> Cow<'_, str> {
    if !text.contains(|letter| replace(letter).is_some()) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match replace(letter) {
            Some(entity) => escaped.push_str(entity),
            None => escaped.push(letter),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_escapes_what_it_would_read() {
        let text = "<b>'A' & \"B\"</b> _1.5_";
        for (markup, wanted) in [
            (Markup::Plain, text),
            (Markup::Html, "&lt;b&gt;&#39;A&#39; &amp; &quot;B&quot;&lt;/b&gt; _1.5_"),
            (Markup::Slack, "&lt;b&gt;'A' &amp; \"B\"&lt;/b&gt; _1.5_"),
            (Markup::MarkdownV2, "<b\\>'A' & \"B\"</b\\> \\_1\\.5\\_"),
        ] {
            assert_eq!(markup.escape(text), wanted, "{markup:?}");
        }
    }
}
