//! The functions of `pg_catalog`: those of `datafusion-pg-catalog`, and beside them those that it lacks or that depend
//! on the session.

use std::sync::Arc;

use arrow::array::{Array, AsArray, ListBuilder, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion_pg_catalog::pg_catalog as library;

use super::comments::Comments;
use crate::error::QueryError;

/// The PostgreSQL that clients are told they speak with: one whose catalogue queries are answered.
pub const SERVER_VERSION: &str = "16.6";

/// Functions that are the same for every session.
pub(crate) fn of_catalogue() -> Vec<Arc<ScalarUDF>> {
    let privileges =
        ["has_table_privilege", "has_schema_privilege", "has_database_privilege", "has_any_column_privilege"];
    let privileges = privileges.map(library::has_privilege_udf::create_has_privilege_udf);
    let theirs = [
        library::create_pg_get_userbyid_udf(),
        library::create_pg_table_is_visible(),
        library::create_pg_get_partkeydef_udf(),
        library::create_pg_relation_is_publishable_udf(),
        library::create_pg_get_statisticsobjdef_columns_udf(),
        library::create_pg_encoding_to_char_udf(),
        library::create_pg_relation_size_udf(),
        library::create_pg_total_relation_size_udf(),
        library::create_pg_stat_get_numscans(),
        library::create_pg_get_constraintdef(),
        library::create_pg_get_partition_ancestors_udf(),
        library::format_type::create_format_type_udf(),
        library::pg_get_expr_udf::create_pg_get_expr_udf(),
        library::quote_ident_udf::create_quote_ident_udf(),
        library::quote_ident_udf::create_parse_ident_udf(),
        library::array_bounds_udf::create_array_upper_udf(),
        library::array_bounds_udf::create_array_lower_udf(),
    ];
    let (text, none) = (|text: &str| ScalarValue::from(text), || ScalarValue::Utf8(None));
    let constants = [
        ("pg_my_temp_schema", ScalarValue::from(0_i32)),
        ("pg_backend_pid", ScalarValue::from(0_i32)),
        ("pg_is_in_recovery", ScalarValue::from(false)),
        ("pg_is_other_temp_schema", ScalarValue::from(false)),
        ("pg_type_is_visible", ScalarValue::from(true)),
        ("pg_function_is_visible", ScalarValue::from(true)),
        ("pg_collation_is_visible", ScalarValue::from(true)),
        ("to_regclass", ScalarValue::Int32(None)),
        ("to_regtype", ScalarValue::Int32(None)),
        ("pg_get_viewdef", none()),
        ("pg_get_indexdef", none()),
        ("pg_get_ruledef", none()),
        ("pg_get_triggerdef", none()),
        ("pg_get_serial_sequence", none()),
        ("pg_get_function_arguments", none()),
        ("pg_get_function_result", none()),
        ("shobj_description", none()),
        ("pg_size_pretty", text("0 bytes")),
        ("pg_table_size", ScalarValue::from(0_i64)),
        ("pg_indexes_size", ScalarValue::from(0_i64)),
        ("pg_database_size", ScalarValue::from(0_i64)),
        ("pg_tablespace_size", ScalarValue::from(0_i64)),
        ("getdatabaseencoding", text("UTF8")),
        ("pg_client_encoding", text("UTF8")),
        ("version", text(&format!("PostgreSQL {SERVER_VERSION} (civicmesh {})", env!("CARGO_PKG_VERSION")))),
    ];
    let constants = constants.into_iter().map(|(name, value)| constant(name, value));
    let listed = Listed { signature: Signature::any(1, Volatility::Immutable) };
    let ours = [ScalarUDF::new_from_impl(listed)];
    privileges.into_iter().chain(theirs).chain(ours).map(Arc::new).chain(constants).collect()
}

/// Functions that tell where the session is.
pub(crate) fn of_session(city: &str, domain: &str) -> [Arc<ScalarUDF>; 4] {
    let schemas = [domain, super::SCHEMA].map(ScalarValue::from);
    let schemas = ScalarValue::List(ScalarValue::new_list_nullable(&schemas, &DataType::Utf8));
    [
        constant("current_schema", ScalarValue::from(domain)),
        constant("current_schemas", schemas),
        constant("current_database", ScalarValue::from(city)),
        constant("session_user", ScalarValue::from(domain)),
    ]
}

/// Functions that look comments up.
pub(super) fn of_comments(comments: &Arc<Comments>) -> [Arc<ScalarUDF>; 2] {
    let lookup = |name, arity: &[usize]| {
        let arity = arity.iter().map(|count| TypeSignature::Any(*count)).collect();
        let signature = Signature::one_of(arity, Volatility::Stable);
        Arc::new(ScalarUDF::new_from_impl(Lookup { name, signature, comments: comments.clone() }))
    };
    [lookup("obj_description", &[1, 2]), lookup("col_description", &[2])]
}

fn constant(name: &'static str, value: ScalarValue) -> Arc<ScalarUDF> {
    let signature = Signature::one_of(vec![TypeSignature::Nullary, TypeSignature::VariadicAny], Volatility::Stable);
    Arc::new(ScalarUDF::new_from_impl(Constant { name, signature, value }))
}

/// A function that says the same of everything.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Constant {
    name: &'static str,
    signature: Signature,
    value: ScalarValue,
}

impl ScalarUDFImpl for Constant {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.value.data_type())
    }

    fn invoke_with_args(&self, _arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value.clone()))
    }
}

/// The name of [`Listed`].
pub(super) const LISTED: &str = "civicmesh_listed";

/// A list of names that a client may have given as the text of one, `{"r", "v"}`: a cast takes it for its only member,
/// and the library leaves the spaces and quotes in.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Listed {
    signature: Signature,
}

impl ScalarUDFImpl for Listed {
    fn name(&self) -> &str {
        LISTED
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(names_type())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arguments = ColumnarValue::values_to_arrays(&arguments.args)?;
        let lists = arguments.first().ok_or(QueryError::Internal("a list is made of something"))?;
        let lists = cast(lists, &names_type())?;
        let mut listed = ListBuilder::new(StringBuilder::new());
        for names in lists.as_list::<i32>().iter() {
            let Some(names) = names else {
                listed.append_null();
                continue;
            };
            let names: Vec<_> = names.as_string::<i32>().iter().flatten().collect();
            let names = match names.as_slice() {
                [text] if text.starts_with('{') && text.ends_with('}') => text[1..text.len() - 1].split(',').collect(),
                _ => names,
            };
            let names = names.into_iter().map(|name| name.trim().trim_matches('"'));
            listed.append_value(names.filter(|name| !name.is_empty()).map(Some));
        }
        Ok(ColumnarValue::Array(Arc::new(listed.finish())))
    }
}

fn names_type() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
}

/// The comment on a table, or on one of its columns.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Lookup {
    name: &'static str,
    signature: Signature,
    comments: Arc<Comments>,
}

impl ScalarUDFImpl for Lookup {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arguments = ColumnarValue::values_to_arrays(&arguments.args)?;
        let numbers = |array: &Arc<dyn Array>| cast(array, &DataType::Int64);
        let tables = arguments.first().ok_or(QueryError::Internal("a comment is looked up by its table"))?;
        let tables = numbers(tables)?;
        let columns = match (self.name, arguments.get(1)) {
            ("col_description", Some(columns)) => Some(numbers(columns)?),
            _ => None,
        };
        let number = |array: &Arc<dyn Array>, row: usize| {
            array.is_valid(row).then(|| array.as_primitive::<Int64Type>().value(row))
        };
        let texts = (0..tables.len()).map(|row| {
            let column = columns.as_ref().map_or(Some(0), |columns| number(columns, row))?;
            self.comments.on(number(&tables, row)?, column)
        });
        Ok(ColumnarValue::Array(Arc::new(texts.collect::<StringArray>())))
    }
}
