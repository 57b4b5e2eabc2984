//! A statement that a client prepared: what it is, its parameters and its columns.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use civicmesh_model::time::Zone;
use civicmesh_query::Prepared;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion_postgres::arrow_pg::datatypes::df::deserialize_parameters_with_server_types;
use datafusion_postgres::arrow_pg::datatypes::into_pg_type;
use datafusion_postgres::pgwire::api::Type;
use datafusion_postgres::pgwire::api::portal::{Format, Portal};
use datafusion_postgres::pgwire::error::PgWireResult;

use super::command::{Command, Given};
use super::copy::Form;
use super::failure::refuse;
use super::names::named;
use super::rows::on_the_wire;

/// A statement.
#[derive(Clone)]
pub(super) enum Statement {
    /// About the connection.
    Command(Command),
    /// A question to the engine.
    Question(Arc<Planned>),
    /// A question whose answer is copied out.
    Copy(Arc<Planned>, Form),
    /// Rows of a cursor, whose question was this.
    Fetch(Command, Arc<Planned>),
}

/// A question that was planned.
pub(super) struct Planned {
    pub sql: String,
    /// The answer's columns as they go over the wire.
    pub schema: SchemaRef,
    /// The parameters' types, as PostgreSQL has them and as Arrow does.
    pub types: Vec<Type>,
    kinds: Vec<Option<DataType>>,
}

impl Planned {
    pub(super) fn new(sql: String, prepared: Prepared) -> PgWireResult<Planned> {
        let Prepared { schema, parameters: kinds } = prepared;
        let kind = |kind: &Option<DataType>| kind.as_ref().map_or(Ok(Type::TEXT), into_pg_type);
        let types = kinds.iter().map(kind).collect::<PgWireResult<_>>()?;
        let schema = named(&sql, on_the_wire(&schema));
        Ok(Planned { sql, schema, types, kinds })
    }

    /// The values that the client gave.
    ///
    /// # Errors
    /// There are more or fewer than there are parameters, or one cannot be read.
    pub(super) fn parameters(&self, portal: &Portal<Statement>) -> PgWireResult<Vec<ScalarValue>> {
        let (given, wanted) = (portal.parameter_len(), self.types.len());
        let formats = match &portal.parameter_format {
            Format::Individual(formats) => formats.len(),
            _ => given,
        };
        if given != wanted || formats != given {
            return Err(refuse(
                "08P01",
                format!("{given} parameters in {formats} formats for {wanted} in the statement"),
            ));
        }
        // a time that is written out and that the client says no type of may be a date, or a time without an offset
        let is_written = |at: usize| {
            let said = portal.statement.parameter_types.get(at).is_some_and(Option::is_some);
            let is_time = matches!(self.types[at], Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::DATE);
            !said && is_time && portal.parameter_format.is_text(at)
        };
        let kinds: Vec<_> = (0..given).map(|at| self.kinds[at].as_ref().filter(|_| !is_written(at))).collect();
        let text = Type::TEXT;
        let types: Vec<_> = (0..given).map(|at| Some(if is_written(at) { &text } else { &self.types[at] })).collect();
        match deserialize_parameters_with_server_types(portal, &kinds, &types)? {
            ParamValues::List(values) => Ok(values.into_iter().map(|value| value.value).collect()),
            ParamValues::Map(_) => Err(refuse("08P01", "parameters by name")),
        }
    }
}

/// The type of Arrow's for a parameter that the client gives in this one; none where it does not tell enough.
pub(super) fn kind(given: &Type, zone: Zone) -> Option<DataType> {
    Some(match *given {
        Type::BOOL => DataType::Boolean,
        Type::INT2 => DataType::Int16,
        Type::INT4 => DataType::Int32,
        Type::INT8 => DataType::Int64,
        Type::FLOAT4 => DataType::Float32,
        Type::FLOAT8 => DataType::Float64,
        Type::TEXT | Type::VARCHAR => DataType::Utf8,
        Type::DATE => DataType::Date32,
        Type::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some(zone.name().into())),
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
        _ => return None,
    })
}

/// The names of a command's columns; none where it gives no rows.
pub(super) fn columns(command: &Command) -> Vec<String> {
    match command {
        Command::Show(name) => vec![name.clone()],
        Command::ShowAll => vec!["name".to_owned(), "setting".to_owned()],
        Command::SetConfig { .. } => vec!["set_config".to_owned()],
        Command::CurrentSetting(_) => vec!["current_setting".to_owned()],
        _ => Vec::new(),
    }
}

/// How many parameters a command has, all of them text.
pub(super) fn parameters(command: &Command) -> usize {
    let number = |given: &Given| match given {
        Given::Parameter(number) => *number,
        Given::Text(_) => 0,
    };
    match command {
        Command::SetConfig { name, value } => number(name).max(number(value)),
        Command::CurrentSetting(name) => number(name),
        _ => 0,
    }
}
