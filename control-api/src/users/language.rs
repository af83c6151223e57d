//! Which languages there are: ISO 639-1, or `auto`.
//!
//! Not here: which of them the models know.

/// Whether `code` is a two-letter code of ISO 639-1 in lower case, or `auto`: to be found out from the voice.
pub fn is_language(code: &str) -> bool {
    code == "auto" || (code.len() == 2 && CODES.split(' ').any(|known| known == code))
}

pub(super) fn check(code: &str, (): &()) -> garde::Result {
    if is_language(code) {
        Ok(())
    } else {
        Err(garde::Error::new("a language is a two-letter code of ISO 639-1 such as `en`, or `auto`"))
    }
}

/// ISO 639-1, all 183 in force.
const CODES: &str = "aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de \
    dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io \
    is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt \
    my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn \
    so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_those_of_the_standard() {
        assert_eq!(CODES.split(' ').count(), 183);
        for known in ["en", "de", "zu", "aa", "auto"] {
            assert!(is_language(known), "{known}");
        }
        for unknown in ["", "xx", "EN", "eng", "e", "a b", " e", "Auto", "en-GB"] {
            assert!(!is_language(unknown), "{unknown}");
        }
    }
}
