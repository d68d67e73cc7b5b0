//! How is the table of ops/PRIVACY.md read? By its nine columns; code and fields stand in backticks.

/// One store.
pub struct Row {
    /// Its name.
    pub store: String,
    /// Where it is in the code.
    pub code: Vec<Code>,
    /// Names in backticks in the column of fields.
    pub fields: Vec<String>,
    /// Whether it holds personal data: yes, no, indirectly.
    pub personal: String,
    /// All cells.
    pub cells: Vec<String>,
}

/// One reference to the code: `path`, `path#Type`, `path#*`, `keyspace:name`, `log:who`, `labels`.
pub struct Code(String);

impl Code {
    /// A file, with or without a type.
    pub fn file(&self) -> Option<&str> {
        let file = self.0.split('#').next()?;
        file.ends_with(".rs").then_some(file)
    }

    /// A type of a file.
    pub fn as_type(&self) -> Option<(&str, &str)> {
        self.0.split_once('#').filter(|(_, name)| *name != "*")
    }

    /// A file whose serialised types hold nothing of persons.
    pub fn whole(&self) -> Option<&str> {
        self.0.strip_suffix("#*")
    }

    /// A keyspace of an endpoint.
    pub fn keyspace(&self) -> Option<&str> {
        self.0.strip_prefix("keyspace:")
    }

    /// Exactly this.
    pub fn is(&self, code: &str) -> bool {
        self.0 == code
    }
}

/// The rows of the table whose first column is `store`.
pub fn read(text: &str) -> Vec<Row> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("| store |")).skip(2);
    std::iter::from_fn(|| lines.next().filter(|line| line.starts_with('|'))).map(row).collect()
}

fn row(line: &str) -> Row {
    let cells: Vec<String> = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let [store, code, fields, personal, _, _, _, _, _] = &cells[..] else {
        panic!("{} cells instead of 9: {line}", cells.len())
    };
    Row {
        store: store.clone(),
        code: quoted(code).map(|code| Code(code.to_owned())).collect(),
        fields: quoted(fields).map(str::to_owned).collect(),
        personal: personal.clone(),
        cells: cells.clone(),
    }
}

fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}
