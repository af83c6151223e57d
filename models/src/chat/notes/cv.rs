//! The shape of a CV, read from its lines: sections, the roles in them, and the passages that can be talking points.
//!
//! A few plain rules for the ways in which CVs are commonly set. Not here: PDF or DOCX, and what a question asks.
//! Where the rules do not fit, every line is a passage of its own and nothing is lost but the context.

use std::{ops::Range, sync::Arc};

use super::super::SourceLine;

/// What a section is about, told by its heading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// Before the first heading: name, headline, address.
    Top,
    Summary,
    Experience,
    Education,
    Skills,
    Projects,
    Certifications,
    Languages,
    Interests,
    Other,
}

/// What a passage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Name, address, telephone: never a talking point.
    Contact,
    /// Where somebody was and when: a job, a degree, a project with its years.
    Role {
        /// The last year in it; [`ONGOING`] for "present".
        until: u16,
    },
    /// Anything said under a role or a heading.
    Detail,
}

/// One or more lines that belong together.
#[derive(Debug)]
pub(super) struct Passage {
    /// Indices into the CV's lines.
    pub(super) lines: Range<usize>,
    pub(super) kind: Kind,
    pub(super) section: Section,
    /// Index of the line that heads the section.
    pub(super) heading: Option<usize>,
    /// Index of the passage with the role that a detail belongs to.
    pub(super) role: Option<usize>,
}

/// A CV's lines and its passages, in order.
#[derive(Debug)]
pub(super) struct Cv {
    sources: Arc<[SourceLine]>,
    pub(super) passages: Vec<Passage>,
}

impl Cv {
    /// Reads the first [`MAX_LINES`] lines.
    pub(super) fn read(sources: Arc<[SourceLine]>) -> Self {
        let mut cv = Self { sources, passages: Vec::new() };
        let mut section = Section::Top;
        let mut heading = None;
        let mut role = None;
        for index in 0..cv.sources.len().min(MAX_LINES) {
            let line = cv.sources[index].text.as_str();
            if let Some(found) = section_of(line) {
                (section, heading, role) = (found, Some(index), None);
                continue;
            }
            let is_name = index == 0;
            if is_name || is_contact(line, section) {
                cv.passages.push(Passage {
                    lines: index..index + 1,
                    kind: Kind::Contact,
                    section,
                    heading,
                    role,
                });
                continue;
            }
            // Unmarked and short, without a full stop: a title, an employer, dates.
            let is_title = !is_marked(line) && line.split_whitespace().count() <= 14 && !line.ends_with('.');
            let previous =
                cv.passages.last_mut().filter(|last| last.lines.end == index && last.heading == heading);
            if let Some(previous) = previous {
                let first = cv.sources[previous.lines.start].text.as_str();
                let continues = previous.kind == Kind::Detail && line.starts_with(char::is_lowercase);
                let completes = matches!(previous.kind, Kind::Role { .. })
                    && previous.lines.len() == 1
                    && is_title
                    && is_date_only(first);
                if continues || completes {
                    previous.lines.end = index + 1;
                    continue;
                }
            }
            let mut passage = Passage { lines: index..index + 1, kind: Kind::Detail, section, heading, role };
            let dated = last_year(line).filter(|_| is_title && section.has_roles());
            if let Some(until) = dated {
                // Employer and title often stand on the line above the dates.
                if let Some(title) = cv.passages.pop_if(|last| {
                    let line = cv.sources[last.lines.start].text.as_str();
                    last.kind == Kind::Detail
                        && last.lines == (index - 1..index)
                        && last.heading == heading
                        && section != Section::Top
                        && !is_marked(line)
                        && !line.ends_with('.')
                        && line.split_whitespace().count() <= 10
                }) {
                    passage.lines.start = title.lines.start;
                }
                passage.kind = Kind::Role { until };
                passage.role = None;
                role = Some(cv.passages.len());
            }
            cv.passages.push(passage);
        }
        cv
    }

    /// The candidate's name: the first line, unless it is a heading.
    pub(super) fn name(&self) -> Option<&str> {
        let first =
            self.passages.first().filter(|first| first.kind == Kind::Contact && first.lines.start == 0)?;
        Some(self.line(first.lines.start))
    }

    /// The words of a passage, without the mark of a list.
    pub(super) fn text(&self, passage: &Passage) -> String {
        let lines: Vec<&str> =
            self.sources[passage.lines.clone()].iter().map(|line| unmarked(&line.text)).collect();
        // Two title lines need something between them; a wrapped sentence does not.
        lines.join(if matches!(passage.kind, Kind::Role { .. }) { ", " } else { " " })
    }

    /// The words of one line, without marks of a list or heading.
    pub(super) fn line(&self, index: usize) -> &str {
        unmarked(&self.sources[index].text).trim_end_matches(':')
    }

    /// The citation of a range of lines: `[12]`, or `[12] [13]`.
    pub(super) fn cite(&self, lines: Range<usize>) -> String {
        let numbers: Vec<String> =
            self.sources[lines].iter().map(|line| format!("[{}]", line.number)).collect();
        numbers.join(" ")
    }

    /// Indices of the jobs, the most recent first; among equals in the CV's order.
    pub(super) fn jobs(&self) -> Vec<usize> {
        let mut jobs: Vec<(u16, usize)> = self
            .passages
            .iter()
            .enumerate()
            // A CV without headings has its jobs at the top.
            .filter(|(_, passage)| matches!(passage.section, Section::Top | Section::Experience))
            .filter_map(|(index, passage)| match passage.kind {
                Kind::Role { until } => Some((until, index)),
                _ => None,
            })
            .collect();
        jobs.sort_by_key(|&(until, index)| (std::cmp::Reverse(until), index));
        jobs.into_iter().map(|(_, index)| index).collect()
    }
}

impl Section {
    fn has_roles(self) -> bool {
        matches!(self, Self::Top | Self::Experience | Self::Education | Self::Projects)
    }
}

/// The section that `line` heads, if it is a heading.
fn section_of(line: &str) -> Option<Section> {
    let title = line.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let words: Vec<&str> =
        title.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let known = |word: &&str| HEADINGS.iter().find(|(names, _)| names.contains(word));
    // A heading is nothing but words that headings are made of.
    let is_heading = !words.is_empty()
        && words.iter().all(|word| known(word).is_some() || HEADING_FILLERS.contains(word))
        && !is_list_item(line);
    let (_, section) = words.iter().find_map(known).filter(|_| is_heading)?;
    Some(*section)
}

fn is_contact(line: &str, section: Section) -> bool {
    let digits = line.chars().filter(char::is_ascii_digit).count();
    let has_address = line.contains('@') || line.contains("://") || line.contains("linkedin.com");
    has_address || section == Section::Top && digits >= 9
}

fn is_list_item(line: &str) -> bool {
    line.starts_with(['•', '-', '*', '–', '▪', '·', '◦', '‣', '●', '○'])
}

/// Whether `line` carries the mark of a list or a heading.
fn is_marked(line: &str) -> bool {
    is_list_item(line) || line.starts_with('#')
}

fn unmarked(line: &str) -> &str {
    line.trim_start_matches(|c: char| c.is_whitespace() || is_marked(c.encode_utf8(&mut [0; 4])))
}

/// The last year in `line`, or [`ONGOING`].
fn last_year(line: &str) -> Option<u16> {
    let words = line.split(|c: char| !c.is_alphanumeric());
    words
        .filter_map(|word| match word.to_lowercase().as_str() {
            "present" | "now" | "today" | "ongoing" | "current" => Some(ONGOING),
            word if word.len() == 4 => word.parse().ok().filter(|year| (1950..2100).contains(year)),
            _ => None,
        })
        .max()
}

/// Whether `line` says when and nothing else.
fn is_date_only(line: &str) -> bool {
    let mut words = line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.all(|word| {
        let word = word.to_lowercase();
        word.chars().all(|c| c.is_ascii_digit())
            || ["present", "now", "today", "to", "until", "since"].contains(&word.as_str())
            || word.get(..3).is_some_and(|month| MONTHS.contains(&month))
    })
}

/// The year of what has not ended.
const ONGOING: u16 = u16::MAX;

/// Lines read of a CV; a long one has 200.
const MAX_LINES: usize = 1_000;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// Words that tell what a heading is about; the first of a heading that is listed decides.
const HEADINGS: [(&[&str], Section); 9] = [
    (&["summary", "profile", "objective", "about", "statement"], Section::Summary),
    (&["experience", "employment", "work", "career", "positions"], Section::Experience),
    (&["education", "qualifications", "academic", "studies"], Section::Education),
    (
        &["skills", "technologies", "competencies", "expertise", "tools", "strengths", "programming"],
        Section::Skills,
    ),
    (&["projects", "portfolio"], Section::Projects),
    (
        &["certifications", "certificates", "certification", "training", "courses", "licences", "licenses"],
        Section::Certifications,
    ),
    (&["languages"], Section::Languages),
    (&["interests", "hobbies"], Section::Interests),
    (
        &[
            "talks",
            "publications",
            "awards",
            "honours",
            "honors",
            "volunteering",
            "references",
            "memberships",
            "patents",
            "achievements",
            "contact",
        ],
        Section::Other,
    ),
];

const HEADING_FILLERS: [&str; 17] = [
    "and",
    "of",
    "me",
    "key",
    "core",
    "technical",
    "professional",
    "personal",
    "relevant",
    "history",
    "background",
    "executive",
    "selected",
    "side",
    "additional",
    "other",
    "details",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Cv {
        let lines =
            text.lines().zip(1..).map(|(line, number)| SourceLine { number, text: line.trim().into() });
        Cv::read(lines.filter(|line| !line.text.is_empty()).collect())
    }

    #[test]
    fn headings_are_told_from_lines() {
        let cases = [
            ("EXPERIENCE", Some(Section::Experience)),
            ("## Work history", Some(Section::Experience)),
            ("Professional Experience:", Some(Section::Experience)),
            ("About me", Some(Section::Summary)),
            ("Key skills", Some(Section::Skills)),
            ("Programming Languages", Some(Section::Skills)),
            ("Languages", Some(Section::Languages)),
            ("Education & Training", Some(Section::Education)),
            ("Personal Projects", Some(Section::Projects)),
            ("Publications", Some(Section::Other)),
            ("Work experience with Rust", None),
            ("• Training", None),
            ("Languages: Rust, Go", None),
            ("Head of Education, Leeds", None),
            ("—", None),
        ];
        for (line, expected) in cases {
            assert_eq!(section_of(line), expected, "{line}");
        }
    }

    /// Each CV with its passages as `kind: text <- role`.
    #[test]
    fn lines_become_passages() {
        let check = |cv: &str, expected: &[&str]| {
            let cv = read(cv);
            let shown: Vec<String> = cv
                .passages
                .iter()
                .map(|passage| {
                    let kind = match passage.kind {
                        Kind::Contact => "contact".into(),
                        Kind::Detail => "detail".into(),
                        Kind::Role { until: ONGOING } => "role until now".into(),
                        Kind::Role { until } => format!("role until {until}"),
                    };
                    let role = passage.role.map(|role| format!(" <- {}", cv.text(&cv.passages[role])));
                    format!("{kind}: {}{}", cv.text(passage), role.unwrap_or_default())
                })
                .collect();
            assert_eq!(shown, expected);
        };
        check("", &[]);
        check(
            "Ada Lovelace\nAnalyst\nada@example.org\n+44 (0)20 7946 0958",
            &[
                "contact: Ada Lovelace",
                "detail: Analyst",
                "contact: ada@example.org",
                "contact: +44 (0)20 7946 0958",
            ],
        );
        // Title and dates on one line, on two, and dates first.
        check(
            "Experience\nAnalyst, Engine Ltd, 1842 – 2001\n- Wrote\n  a program",
            &[
                "role until 2001: Analyst, Engine Ltd, 1842 – 2001",
                "detail: Wrote a program <- Analyst, Engine Ltd, 1842 – 2001",
            ],
        );
        check(
            "Experience\nAnalyst\nMay 2001 - present\n• Wrote.\nClerk\n2000\nFiled.",
            &[
                "role until now: Analyst, May 2001 - present",
                "detail: Wrote. <- Analyst, May 2001 - present",
                "role until 2000: Clerk, 2000",
                "detail: Filed. <- Clerk, 2000",
            ],
        );
        check(
            "Experience\n2001 to 2003\nAnalyst, Engine Ltd\n- Wrote in 2002",
            &[
                "role until 2003: 2001 to 2003, Analyst, Engine Ltd",
                "detail: Wrote in 2002 <- 2001 to 2003, Analyst, Engine Ltd",
            ],
        );
        // Years elsewhere make no role, and a heading ends one.
        check(
            "Experience\nClerk, 2000\nSkills\nExcel since 2001\nCertifications\nTyping, 1999",
            &["role until 2000: Clerk, 2000", "detail: Excel since 2001", "detail: Typing, 1999"],
        );
    }

    #[test]
    fn jobs_come_most_recent_first() {
        let cv = read("Experience\nA, 1999\nB, 2004 - now\nC, 2001 - 2004\nEducation\nD, 2020");
        let jobs: Vec<String> = cv.jobs().into_iter().map(|job| cv.text(&cv.passages[job])).collect();
        assert_eq!(jobs, ["B, 2004 - now", "C, 2001 - 2004", "A, 1999"]);
    }

    #[test]
    fn a_citation_names_every_line() {
        let cv = read("Ada\n\nSkills\n- Long\n  division");
        assert_eq!((cv.cite(0..1), cv.cite(2..4)), ("[1]".into(), "[4] [5]".into()));
    }
}
