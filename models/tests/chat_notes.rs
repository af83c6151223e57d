//! Notes over whole CVs: which lines are found for a question, and that nothing is said that no line says.

#![allow(clippy::unwrap_used, reason = "a test says so by panicking")]

use futures_util::{FutureExt, StreamExt};
use models::chat::{AnswerDelta, ChatModel, ChatRequest, Notes, SourceLine};

/// Each question with the lines that must be among its points, or in the role or heading above them.
#[test]
fn finds_the_lines_that_bear_on_a_question() {
    for (question, expected) in ENGINEER_QUESTIONS {
        check(ENGINEER, question, expected);
    }
    for (question, expected) in NURSE_QUESTIONS {
        check(NURSE, question, expected);
    }
}

#[test]
fn says_so_when_the_cv_has_nothing() {
    for (question, expected) in ENGINEER_GAPS {
        assert_eq!(
            answer(ENGINEER, question, 300).0,
            format!("Your CV says nothing about {expected}."),
            "{question}"
        );
    }
    for (question, expected) in NURSE_GAPS {
        assert_eq!(
            answer(NURSE, question, 300).0,
            format!("Your CV says nothing about {expected}."),
            "{question}"
        );
    }
}

#[test]
fn says_so_when_the_cv_is_hardly_one() {
    for question in ["Tell me about yourself.", "Why do you want to work here?", "What did you study?"] {
        assert_eq!(answer("Ada", question, 300).0, "Your CV has nothing on this.", "{question}");
    }
    let word = "x".repeat(100_000);
    assert_eq!(answer("Ada", &word, 300).0, "Your CV has nothing on this.");
}

#[test]
fn says_so_when_there_is_no_cv() {
    for cv in ["", "\n \n"] {
        let (text, finish_reason) = answer(cv, "Tell me about yourself.", 300);
        assert_eq!((text.as_str(), finish_reason.as_str()), ("There is no CV to take notes from.", "stop"));
    }
}

#[test]
fn names_what_is_missing_beside_what_is_there() {
    let (text, _) = answer(ENGINEER, "Have you worked with Terraform and Ansible?", 300);
    assert!(
        text.starts_with("2 points from your CV, which says nothing about Ansible, best first:\n"),
        "{text}"
    );
}

#[test]
fn what_no_cv_can_answer_is_not_passed_off_as_answered() {
    for question in
        ["Why do you want to work here?", "Where do you see yourself in five years?", "", "Okay, great."]
    {
        let (text, _) = answer(ENGINEER, question, 300);
        assert!(text.starts_with("Your CV does not answer this directly."), "{question}: {text}");
    }
}

#[test]
fn keeps_to_the_token_limit_at_whole_points() {
    let question = "Tell me about yourself.";
    let (whole, _) = answer(ENGINEER, question, 1_000);
    for max_tokens in 1..250 {
        let (text, finish_reason) = answer(ENGINEER, question, max_tokens);
        assert!(whole.starts_with(&text), "{max_tokens}: {text}");
        assert_eq!(finish_reason, if text == whole { "stop" } else { "length" }, "{max_tokens}");
        let opening = whole.lines().next().unwrap();
        assert!(text == opening || text.chars().count() <= max_tokens as usize * 4, "{max_tokens}: {text}");
        assert!(
            text == opening || text.ends_with(']') && text.lines().last().unwrap().starts_with('•'),
            "{text}"
        );
    }
}

/// CVs of any shape, or none: bounded, in order, and in their own words.
#[test]
fn never_invents_whatever_the_cv_looks_like() {
    let no_marks = ENGINEER.replace("- ", "");
    let one_paragraph = ENGINEER.replace('\n', " ");
    let bare: String = ENGINEER
        .lines()
        .filter(|line| !line.chars().all(|c| c.is_uppercase()))
        .collect::<Vec<_>>()
        .join("\n");
    let long = ENGINEER.repeat(60);
    for cv in
        [NURSE, &no_marks, &one_paragraph, &bare, &long, "Ünïcödé 🎻 C++ .NET\n•\n-\n12/2020\n2020 - now"]
    {
        let questions = ENGINEER_QUESTIONS.iter().chain(NURSE_QUESTIONS).map(|(question, _)| question);
        for question in questions.chain(&["What do you know about C++?", "?", "2020", "🎻"]) {
            let (text, _) = answer(cv, question, 10_000);
            assert_is_from(cv, &text);
        }
    }
}

fn check(cv: &str, question: &str, expected: &[u32]) {
    let (text, finish_reason) = answer(cv, question, 1_000);
    assert_is_from(cv, &text);
    let cited: Vec<u32> = text.lines().skip(1).flat_map(|line| split_citations(line).1).collect();
    for line in expected {
        assert!(cited.contains(line), "{question}\nline {line} is not in:\n{text}");
    }
    assert_eq!(finish_reason, "stop", "{question}");
}

/// Every line but the first is cited and consists of the words of the lines it cites.
fn assert_is_from(cv: &str, text: &str) {
    let cv: Vec<&str> = cv.lines().collect();
    let mut lines = text.lines();
    assert!(lines.next().is_some_and(|opening| opening.contains("CV")), "{text}");
    for line in lines.clone() {
        let (said, numbers) = split_citations(line);
        assert!(!numbers.is_empty(), "no citation: {line}");
        let written: String = numbers.iter().map(|&number| format!("{} ", cv[number as usize - 1])).collect();
        for word in said.split_whitespace().filter(|&word| word != "•") {
            assert!(written.contains(word.trim_end_matches(',')), "{word} is not in {written}");
        }
    }
    assert!(lines.filter(|line| line.starts_with('•')).count() <= 6, "{text}");
}

/// `• Text. [3] [4]` into its text and its numbers.
fn split_citations(line: &str) -> (&str, Vec<u32>) {
    let mut text = line;
    let mut numbers = Vec::new();
    while let Some((before, number)) = text.strip_suffix(']').and_then(|rest| rest.rsplit_once(" [")) {
        let Ok(number) = number.parse() else { break };
        numbers.insert(0, number);
        text = before;
    }
    (text, numbers)
}

/// The text and finish reason of an answer; line numbers as in the file, blank lines counted.
fn answer(cv: &str, question: &str, max_tokens: u32) -> (String, String) {
    let sources = cv
        .lines()
        .zip(1..)
        .map(|(line, number)| SourceLine { number, text: line.trim().to_owned() })
        .filter(|line| !line.text.is_empty())
        .collect();
    let request =
        ChatRequest { messages: vec![], question: question.into(), sources, max_tokens, context: None };
    let mut text = String::new();
    let mut deltas = Notes::new().answer(request);
    while let Some(delta) = deltas.next().now_or_never().expect("notes wait for nothing") {
        match delta.unwrap() {
            AnswerDelta::RequestSent => assert_eq!(text, ""),
            AnswerDelta::Text(word) => text.push_str(&word),
            AnswerDelta::Done(end) => return (text, end.finish_reason),
            AnswerDelta::By { name, .. } => panic!("notes say that {name} answers"),
        }
    }
    panic!("no end after: {text}");
}

const ENGINEER: &str = include_str!("fixtures/cv_engineer.txt");
const NURSE: &str = include_str!("fixtures/cv_nurse.txt");

const ENGINEER_QUESTIONS: &[(&str, &[u32])] = &[
    ("So, tell me about yourself.", &[2, 7, 8, 12, 14, 22]),
    ("Can you walk me through your CV?", &[7, 12, 22]),
    ("Why should we hire you?", &[7, 12]),
    (
        "Hi Amara, thanks for joining us. To warm up, could you give us a quick overview of your background?",
        &[2, 7, 12],
    ),
    ("Amara, how comfortable are you with React?", &[42]),
    ("Tell me about a production incident you were responsible for.", &[17]),
    ("Have you migrated a monolith to microservices?", &[14]),
    ("Is your French good enough to work in Paris?", &[62]),
    ("What do you do in your current role?", &[12, 13, 14, 15, 16, 17]),
    ("And what did you do in your previous job?", &[22, 24, 25, 26]),
    ("What was your time at Harbour Logistics like?", &[22, 24, 25, 26]),
    ("Tell me about a time you led a team through a big change.", &[14, 16]),
    ("Have you ever mentored anybody?", &[16]),
    ("Tell me about a time when you had a conflict with a colleague.", &[19, 20]),
    ("How do you handle disagreement with stakeholders?", &[19, 20]),
    ("Can you give me an example of a mistake you made and what you learned?", &[17]),
    ("Describe a situation where you had to meet a tight deadline.", &[28]),
    ("What is the most challenging project you've worked on?", &[15, 24, 25]),
    ("What are you most proud of?", &[15, 17, 24]),
    ("Tell me about a performance problem you solved.", &[15]),
    ("How have you reduced costs?", &[25]),
    ("How do you approach testing?", &[18]),
    ("Have you been on call?", &[26]),
    ("Have you interviewed or hired engineers?", &[27]),
    ("Have you got any public speaking experience?", &[65, 66]),
    ("How big was the team you worked in?", &[35]),
    ("What's your experience with Rust?", &[14, 40, 52]),
    ("Do you know Go?", &[32, 52]),
    ("How much Kafka have you used in production?", &[24, 53]),
    ("At Acme we run everything on kubernetes. How much of that have you done?", &[25, 54, 59]),
    ("Which cloud providers have you worked with?", &[25, 54]),
    ("Have you worked with databases such as PostgreSQL or MySQL?", &[34, 53]),
    ("How would you design a system that handles millions of events a day?", &[24]),
    ("What did you study at university?", &[46, 48]),
    ("Do you have any certifications?", &[58, 59]),
    ("What languages do you speak?", &[62]),
    ("What is your tech stack?", &[52, 53, 54]),
    ("What side projects do you have?", &[39, 40, 41, 42]),
    ("And what do you do outside of work?", &[73]),
];

const ENGINEER_GAPS: &[(&str, &str)] = &[
    ("Have you ever worked with quantum computing?", "quantum computing"),
    ("What are your salary expectations?", "salary expectations"),
    ("Do you have experience with Salesforce?", "Salesforce"),
    ("Have you used Haskell in production?", "Haskell"),
    ("What do you know about C++?", "C++"),
    ("What's your notice period?", "notice period"),
    ("How do you deal with legacy code?", "legacy code"),
    ("What is your experience with distributed systems?", "distributed systems"),
    ("What is your biggest weakness?", "weakness"),
    ("Do you have a driving licence?", "driving licence"),
    ("Are you willing to relocate to Singapore?", "Singapore"),
    ("What experience do you have with front-end development?", "front-end development"),
];

const NURSE_QUESTIONS: &[(&str, &[u32])] = &[
    ("Tell me about yourself.", &[4, 5, 7, 8, 9]),
    ("Tell me about a time you dealt with an aggressive patient.", &[15]),
    ("Tell me about a time you reduced errors.", &[10]),
    ("What experience do you have in triage?", &[14, 23]),
    ("Have you trained or mentored other nurses?", &[11, 15]),
    ("How do you manage a shift?", &[9]),
    ("What do you know about sepsis?", &[16]),
    ("What do you do in your current job?", &[7, 8, 9, 10, 11]),
    ("What did you do at Avon?", &[12, 13, 14, 15, 16]),
    ("Where did you study nursing?", &[18]),
    ("What languages do you speak?", &[25]),
];

const NURSE_GAPS: &[(&str, &str)] = &[
    ("Do you have any experience in oncology?", "oncology"),
    ("Have you worked in dialysis?", "dialysis"),
    ("What are your views on the NHS?", "NHS"),
];
