//! The vocabulary of a Whisper model as its ggml file carries it: each token's bytes, in the order of the ids.
//!
//! Not here: tokenising.

use super::ConvertError;

/// CTranslate2's `vocabulary.txt`: a token a line.
pub(super) fn from_lines(text: &str) -> Vec<String> {
    text.strip_suffix('\n').unwrap_or(text).split('\n').map(str::to_owned).collect()
}

/// CTranslate2's `vocabulary.json`: an array of tokens.
pub(super) fn from_json(text: &str) -> Result<Vec<String>, ConvertError> {
    serde_json::from_str(text)
        .map_err(|error| super::ct2::unsupported("vocabulary.json", error, "an array of strings"))
}

/// The plain tokens as bytes; readers make up the special ones that follow. `size` is the model's vocabulary.
///
/// The published English files end with `<|endoftext|>` all the same; the multilingual ones do not.
pub(super) fn plain_tokens(tokens: &[String], size: u32) -> Result<Vec<Vec<u8>>, ConvertError> {
    let (plain, extra) = match size {
        ENGLISH => (ENGLISH_PLAIN, Some(END_OF_TEXT.into())),
        MULTILINGUAL => (ENGLISH_PLAIN + 1, None),
        _ => return Err(super::ct2::unsupported("the vocabulary's size", size, "51864 or 51865")),
    };
    match tokens.get(plain) {
        Some(token) if token == END_OF_TEXT => {}
        found => {
            let found = found.cloned().unwrap_or_else(|| format!("one of {} entries", tokens.len()));
            return Err(super::ct2::unsupported("the vocabulary's end", found, END_OF_TEXT));
        }
    }
    let bytes = tokens[..plain].iter().enumerate();
    bytes.map(|(index, token)| decode(token).ok_or(ConvertError::Token(index))).chain(extra.map(Ok)).collect()
}

/// Undoes GPT-2's byte-level spelling: printable Latin-1 stands for itself, the other bytes in turn for U+0100 on.
fn decode(token: &str) -> Option<Vec<u8>> {
    token.chars().map(byte_of).collect()
}

fn byte_of(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ (0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF) => u8::try_from(code).ok(),
        code @ 0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        code @ 0x121..=0x142 => u8::try_from(code - 0x121 + 0x7F).ok(),
        0x143 => Some(0xAD),
        _ => None,
    }
}

const ENGLISH: u32 = 51_864;
const MULTILINGUAL: u32 = 51_865;
const ENGLISH_PLAIN: usize = 50_256;
const END_OF_TEXT: &str = "<|endoftext|>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_character() {
        let mut seen = [0; 256];
        (0..0x1000)
            .filter_map(char::from_u32)
            .filter_map(byte_of)
            .for_each(|byte| seen[usize::from(byte)] += 1);
        assert_eq!(seen, [1; 256]);
    }

    #[test]
    fn tokens_are_decoded() {
        let check = |token: &str, expected: Option<&[u8]>| assert_eq!(decode(token).as_deref(), expected);
        check("Ġhello", Some(b" hello"));
        check("Ċ", Some(b"\n"));
        check("Ã©", Some("é".as_bytes()));
        check("Ń", Some(&[0xAD]));
        check("ł", Some(&[0xA0]));
        check("ġ", Some(&[0x7F]));
        check("a b", None);
        check("日", None);
    }

    fn vocabulary(plain: usize) -> Vec<String> {
        let mut tokens = vec!["a".to_owned(); plain];
        tokens.push(END_OF_TEXT.to_owned());
        tokens
    }

    #[test]
    fn only_english_ends_with_end_of_text() {
        let english = plain_tokens(&vocabulary(50_256), 51_864).unwrap();
        assert_eq!((english.len(), &english[50_256][..]), (50_257, END_OF_TEXT.as_bytes()));
        let multilingual = plain_tokens(&vocabulary(50_257), 51_865).unwrap();
        assert_eq!((multilingual.len(), &multilingual[50_256][..]), (50_257, &b"a"[..]));
    }

    #[test]
    fn a_vocabulary_of_another_model_is_refused() {
        let check = |tokens: &[String], size: u32, expected: &str| {
            let error = plain_tokens(tokens, size).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(&vocabulary(50_256), 51_865, "the vocabulary's end is one of 50257 entries");
        check(&vocabulary(50_257), 51_864, "the vocabulary's end is a,");
        check(&vocabulary(50_256), 51_866, "the vocabulary's size is 51866");
        check(&[], 51_864, "one of 0 entries");
        let mut bad = vocabulary(50_256);
        bad[7] = "not a token".to_owned();
        check(&bad, 51_864, "vocabulary entry 7 is not");
    }

    #[test]
    fn both_spellings_of_a_list() {
        assert_eq!(from_lines("a\nĊ\nb\r\n"), ["a", "Ċ", "b\r"]);
        assert_eq!(from_json(r#"["a", "Ċ"]"#).unwrap(), ["a", "Ċ"]);
        for bad in ["", "{}", "[1]", "[\"a\""] {
            assert!(matches!(from_json(bad), Err(ConvertError::Unsupported { .. })), "{bad}");
        }
    }
}
