//! The result columns of the golden cases, as lines for `tests/golden/test_server.py`, which compares them with what a
//! real server describes:  file, number of the case, statements, kind, then each column as `name|what|origins`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout)]

#[path = "../tests/common/mod.rs"]
mod common;

use common::Bank;
use ringfence_analysis::facts::{Output, Statement};
use ringfence_analysis::{ColumnId, LabelId, analyse};

fn main() {
    let bank = Bank::load();
    for (file, text) in common::case_files() {
        for (number, case) in text.split("\n== ").skip(1).enumerate() {
            let (_, rest) = case.split_once('\n').unwrap();
            let (sql, _) = rest.split_once("\n--\n").unwrap();
            let Ok(analysis) = analyse(sql, &bank.catalog, &bank.session) else { continue };
            let Some(statement) = analysis.statements.first() else { continue };
            let columns = columns(&bank, statement).map_or_else(|| "unknown".to_owned(), |c| c.join("\t"));
            println!("{file}\t{number}\t{}\t{:?}\t{columns}", analysis.statements.len(), statement.kind);
        }
    }
}

fn columns(bank: &Bank, statement: &Statement) -> Option<Vec<String>> {
    let origins = |set: &[(ColumnId, LabelId)]| {
        let name = |id: ColumnId| {
            let relation = bank.catalog.by_oid(id.relation).unwrap();
            format!("{}.{}.{}", relation.schema, relation.name, bank.catalog.column(id).unwrap().name)
        };
        set.iter().map(|(id, _)| name(*id)).collect::<Vec<_>>().join(",")
    };
    if statement.unexplained {
        return None; // refused as a whole: the parsers read it differently
    }
    let outputs = statement.outputs.as_ref()?;
    Some(
        outputs
            .iter()
            .enumerate()
            .map(|(at, output)| {
                let name = statement.described.get(at).map_or("", |d| &*d.name);
                let (what, of) = match output {
                    Output::Free => ("free", String::new()),
                    Output::Bare(set) => ("bare", origins(set)),
                    Output::Carried(set) => ("carried", origins(set)),
                    Output::Derived { .. } => ("derived", String::new()),
                    Output::CatalogText => ("text", String::new()),
                };
                format!("{name}|{what}|{of}")
            })
            .collect(),
    )
}
