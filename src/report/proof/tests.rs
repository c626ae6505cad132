//! A failure in columns and as a drawing.

use super::*;

fn failure() -> ProofFailure {
    let step = |side, text: &str, state: &str| ProofStep {
        side,
        cpu: u32::from(side == Who::Reader),
        text: text.to_owned(),
        place: Some("free_module+0xd".to_owned()),
        source: Some("kernel/module/main.c:1180".to_owned()),
        state: Some(state.to_owned()),
        holder: Some("the reader".to_owned()),
    };
    ProofFailure {
        schedule: "L22,R18".to_owned(),
        stops: 2,
        found_at: 3,
        found_after_s: 0.1,
        repeated: true,
        file: None,
        crash: None,
        steps: vec![
            step(Who::Loader, "calls delete_module(), stands before", "GOING"),
            step(Who::Reader, "reads /proc/modules, stands before", "GOING"),
            step(
                Who::Loader,
                "goes on; its call comes back, after",
                "UNFORMED",
            ),
        ],
    }
}

#[test]
fn each_step_stands_in_the_column_of_its_side_within_a_mails_width() {
    let lines = two_columns(&failure());
    assert!(lines.iter().all(|line| line.len() <= WIDTH), "{lines:#?}");
    let reader: Vec<&String> = lines.iter().filter(|line| line.contains("reads")).collect();
    assert!(reader[0].starts_with(&" ".repeat(38)), "{reader:?}");
}

#[test]
fn the_drawing_is_well_formed_and_escapes_what_it_quotes() {
    let mut strange = failure();
    strange.steps[0].text = "a <b> & c".to_owned();
    let svg = sequence(&strange);
    let mut reader = quick_xml::Reader::from_str(&svg);
    loop {
        let event = reader.read_event().expect("well-formed");
        if event == quick_xml::events::Event::Eof {
            break;
        }
    }
    assert!(svg.contains("a &lt;b&gt; &amp; c"));
}
