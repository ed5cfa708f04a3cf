//! Texts within Telegram's limits: cut to its length, with mark-up that it can parse.

use crate::config::ParseMode;

/// The most characters of a message, without mark-up.
pub const MAX_CHARS: usize = 4_096;

const ELLIPSIS: char = '…';

/// The tags that Telegram supports.
const TAGS: [&str; 17] = [
    "a",
    "b",
    "blockquote",
    "br",
    "code",
    "del",
    "em",
    "i",
    "ins",
    "pre",
    "s",
    "span",
    "strike",
    "strong",
    "tg-emoji",
    "tg-spoiler",
    "u",
];

/// One piece of an HTML text.
enum Piece<'t> {
    /// A supported tag's name, and whether it is a closing tag.
    Tag(&'t str, bool),
    /// A character, or the character of an entity.
    Char(char),
}

/// `text` cut to the length of one message, with `…` at the cut, and its parse mode after that.
///
/// HTML is cut between its tags, and open tags are closed. MarkdownV2 that is too long becomes plain text, since its marks
/// cannot be closed at an arbitrary place.
pub fn fit(text: &str, mode: Option<ParseMode>) -> (String, Option<ParseMode>) {
    match mode {
        None => (cut(text), None),
        Some(ParseMode::MarkdownV2) if text.chars().count() > MAX_CHARS => (cut(&plain(text, mode)), None),
        Some(ParseMode::MarkdownV2) => (text.to_owned(), mode),
        Some(ParseMode::Html) => (cut_html(text), mode),
    }
}

/// `text` without its mark-up, as a person would read it.
pub fn plain(text: &str, mode: Option<ParseMode>) -> String {
    match mode {
        None => text.to_owned(),
        Some(ParseMode::Html) => pieces(text)
            .filter_map(|(_, piece)| match piece {
                Piece::Char(c) => Some(c),
                Piece::Tag("br", _) => Some('\n'),
                Piece::Tag(..) => None,
            })
            .collect(),
        Some(ParseMode::MarkdownV2) => {
            let mut plain = String::with_capacity(text.len());
            let mut chars = text.chars().peekable();
            while let Some(c) = chars.next() {
                match chars.peek() {
                    Some(next) if c == '\\' && next.is_ascii_punctuation() => plain.extend(chars.next()),
                    _ => plain.push(c),
                }
            }
            plain
        }
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        None => text.to_owned(),
        Some(_) => text.chars().take(MAX_CHARS - 1).chain([ELLIPSIS]).collect(),
    }
}

fn cut_html(text: &str) -> String {
    let (mut seen, mut open, mut kept) = (0, Vec::new(), None);
    for (at, piece) in pieces(text) {
        match piece {
            Piece::Char(_) => seen += 1,
            Piece::Tag(name, true) => drop(open.pop_if(|last| *last == name)),
            Piece::Tag("br", false) => {}
            Piece::Tag(name, false) => open.push(name),
        }
        // The cut, if the text is too long: before the last character, which `…` then replaces.
        if seen == MAX_CHARS && kept.is_none() {
            kept = Some((at, open.clone()));
        }
        if let (true, Some((at, open))) = (seen > MAX_CHARS, &kept) {
            let closing: String = open.iter().rev().map(|name| format!("</{name}>")).collect();
            return format!("{}{ELLIPSIS}{closing}", &text[..*at]);
        }
    }
    text.to_owned()
}

/// The pieces of an HTML text with their positions. Unknown tags and entities are plain characters.
fn pieces(text: &str) -> impl Iterator<Item = (usize, Piece<'_>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &text[at..];
        let first = rest.chars().next()?;
        let (length, piece) = match first {
            '<' => tag(rest),
            '&' => entity(rest),
            _ => None,
        }
        .unwrap_or((first.len_utf8(), Piece::Char(first)));
        let found = (at, piece);
        at += length;
        Some(found)
    })
}

fn tag(rest: &str) -> Option<(usize, Piece<'_>)> {
    let end = rest.find('>')?;
    let inside = &rest[1..end];
    let (inside, closes) = inside.strip_prefix('/').map_or((inside, false), |inside| (inside, true));
    let name = inside.split([' ', '\n', '/']).next().unwrap_or_default();
    TAGS.contains(&name).then_some((end + 1, Piece::Tag(name, closes)))
}

fn entity(rest: &str) -> Option<(usize, Piece<'_>)> {
    let end = rest.bytes().take(10).position(|b| b == b';')?;
    let name = &rest[1..end];
    let number = || {
        let digits = name.strip_prefix('#')?;
        let code = match digits.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => digits.parse(),
        };
        char::from_u32(code.ok()?)
    };
    let stands_for = match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        _ => number()?,
    };
    Some((end + 1, Piece::Char(stands_for)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        assert_eq!(fit(&"é".repeat(4_096), None).0.chars().count(), 4_096);
        let cut = fit(&"é".repeat(4_097), None).0;
        assert_eq!((cut.chars().count(), cut.ends_with("é…")), (4_096, true));
    }

    #[test]
    fn html_is_counted_as_it_reads_and_closed_where_it_is_cut() {
        let fits = format!("<b>{}</b>", "&lt;".repeat(4_096));
        assert_eq!(fit(&fits, Some(ParseMode::Html)).0, fits);
        let long = format!("<b>x<i class=\"y\">{}</i></b>", "&amp;".repeat(4_096));
        let (cut, mode) = fit(&long, Some(ParseMode::Html));
        assert!(cut.ends_with("&amp;…</i></b>") && mode == Some(ParseMode::Html));
        assert_eq!(plain(&cut, mode).chars().count(), 4_096);
        // A tag that closes before the cut stays closed.
        let cut = fit(&format!("<b>x</b>{}", "y".repeat(4_096)), Some(ParseMode::Html)).0;
        assert!(cut.starts_with("<b>x</b>y") && cut.ends_with("y…"));
        let cut = fit(&format!("{}<b>yy</b>", "x".repeat(4_095)), Some(ParseMode::Html)).0;
        assert!(cut.ends_with("x<b>…</b>"));
    }

    #[test]
    fn markdown_that_is_too_long_loses_its_marks() {
        let fits = "\\.".repeat(2_048);
        assert_eq!(fit(&fits, Some(ParseMode::MarkdownV2)), (fits, Some(ParseMode::MarkdownV2)));
        let (cut, mode) = fit(&"\\.".repeat(4_097), Some(ParseMode::MarkdownV2));
        assert_eq!((cut.chars().count(), cut.starts_with("..."), mode), (4_096, true, None));
    }

    #[test]
    fn plain_text_reads_like_the_marked_one() {
        let html =
            "<b>5 &lt; 6</b> &amp; 7 < 8 <x> &nope; &#8364;&#x20AC; <a href=\"https://acme.test\">here</a><br/>.";
        assert_eq!(plain(html, Some(ParseMode::Html)), "5 < 6 & 7 < 8 <x> &nope; €€ here\n.");
        assert_eq!(plain("a\\.b \\\\ c\\d", Some(ParseMode::MarkdownV2)), "a.b \\ c\\d");
        assert_eq!(plain("<b>\\.", None), "<b>\\.");
    }
}
