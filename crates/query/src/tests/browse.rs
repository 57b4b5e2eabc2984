//! The catalogue as PostgreSQL's clients ask for it, descriptions, and questions with parameters.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;

use super::answers::new_york;
use super::fixture::{Node, lines, now};
use crate::engine::QueryOptions;
use crate::error::{QueryError, RefusalCode};
use crate::question::Question;

fn node() -> Node {
    new_york().node()
}

/// What psql, SQLAlchemy, the drivers of ADBC and JDBC, and ibis send at connecting and browsing.
#[tokio::test]
async fn what_clients_ask_of_the_catalogue_is_answered() {
    let node = node();
    for sql in [
        "SELECT pg_catalog.version()",
        "select current_schema()",
        "SELECT CURRENT_SCHEMA, current_database(), current_user",
        "SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema()",
        "SELECT t.oid, typarray FROM pg_type t JOIN pg_namespace ns ON typnamespace = ns.oid WHERE typname = 'hstore'",
        "SELECT attrelid, attname, atttypid FROM pg_catalog.pg_attribute ORDER BY attrelid, attnum",
        "SELECT oid, typname, typreceive, typbasetype, typrelid, typarray FROM pg_catalog.pg_type \
         WHERE (typreceive != 0 OR typsend != 0) AND typtype != 'r' AND typreceive::TEXT != 'array_recv'",
        "SELECT n.nspname as \"Schema\", c.relname as \"Name\", CASE c.relkind WHEN 'r' THEN 'table' END as \"Type\", \
         pg_catalog.pg_get_userbyid(c.relowner) as \"Owner\" FROM pg_catalog.pg_class c \
         LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r','p','') AND n.nspname <> 'pg_catalog' AND n.nspname !~ '^pg_toast' \
         AND n.nspname <> 'information_schema' AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1,2",
        "SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c \
         LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relname OPERATOR(pg_catalog.~) '^(taxi)$' COLLATE pg_catalog.default \
         AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 2, 3",
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema = ANY(current_schemas(false))",
        "SELECT a.attname AS column_name, CASE WHEN EXISTS(SELECT 1 FROM pg_catalog.pg_type t INNER JOIN pg_catalog.pg_enum e \
         ON e.enumtypid = t.oid AND t.typname = pg_catalog.format_type(a.atttypid, a.atttypmod)) THEN 'enum' \
         ELSE pg_catalog.format_type(a.atttypid, a.atttypmod) END AS data_type, NOT a.attnotnull AS nullable \
         FROM pg_catalog.pg_attribute a INNER JOIN pg_catalog.pg_class c ON a.attrelid = c.oid \
         INNER JOIN pg_catalog.pg_namespace n ON c.relnamespace = n.oid WHERE a.attnum > 0 AND NOT a.attisdropped \
         AND n.nspname = ANY(ARRAY['traffic']) AND c.relname = 'taxi' ORDER BY a.attnum ASC",
        "SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname NOT LIKE 'pg/_' || '%' ESCAPE '/'",
        "SELECT r.rolname, ARRAY(SELECT b.rolname FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles b \
         ON (m.roleid = b.oid) WHERE m.member = r.oid) as memberof FROM pg_catalog.pg_roles r WHERE r.rolname !~ '^pg_'",
        "SELECT c.relname, pg_catalog.array_to_string(c.reloptions || array(select 'toast.' || x from \
         pg_catalog.unnest(tc.reloptions) x), ', ') FROM pg_catalog.pg_class c \
         LEFT JOIN pg_catalog.pg_class tc ON (c.reltoastrelid = tc.oid)",
        "SELECT attname, CASE WHEN atthasdef THEN (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d \
         WHERE d.adrelid = attrelid) ELSE NULL END AS default, CASE WHEN (attcollation != 0 AND (SELECT typcollation \
         FROM pg_catalog.pg_type WHERE oid = atttypid) != attcollation) THEN (SELECT json_build_object('name', collname) \
         FROM pg_catalog.pg_collation WHERE oid = attcollation) ELSE NULL END AS collation FROM pg_catalog.pg_attribute",
        "SELECT typname AS name, oid, typarray AS array_oid, oid::regtype::text AS regtype, typdelim AS delimiter \
         FROM pg_type t WHERE t.oid = to_regtype('hstore') ORDER BY t.oid",
        "SELECT result.TABLE_NAME, result.COLUMN_NAME, result.KEY_SEQ FROM (SELECT ct.relname AS TABLE_NAME, \
         a.attname AS COLUMN_NAME, (information_schema._pg_expandarray(i.indkey)).n AS KEY_SEQ, \
         information_schema._pg_expandarray(i.indkey) AS KEYS, a.attnum AS A_ATTNUM FROM pg_catalog.pg_class ct \
         JOIN pg_catalog.pg_attribute a ON (ct.oid = a.attrelid) JOIN pg_catalog.pg_index i ON (a.attrelid = i.indrelid) \
         WHERE i.indisprimary) result WHERE result.A_ATTNUM = (result.KEYS).x ORDER BY 1",
        "SELECT tmp.TYPE, CASE tmp.AM_CANORDER WHEN true THEN CASE tmp.I_INDOPTION[tmp.ORDINAL_POSITION - 1] & 1::smallint \
         WHEN 1 THEN 'D' ELSE 'A' END ELSE NULL END AS ASC_OR_DESC FROM (SELECT 1 AS TYPE, true AS AM_CANORDER, \
         (information_schema._pg_expandarray(i.indkey)).n AS ORDINAL_POSITION, i.indoption AS I_INDOPTION \
         FROM pg_catalog.pg_index i) AS tmp",
        "SELECT t.typname, t.oid FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON (t.typnamespace = n.oid) \
         WHERE n.nspname != 'pg_toast' AND (t.typrelid = 0 OR (SELECT c.relkind = 'c' FROM pg_catalog.pg_class c \
         WHERE c.oid = t.typrelid))",
        "SELECT relname FROM pg_catalog.pg_class WHERE relkind = ANY('{\"r\", \"v\"}')",
        "SELECT pg_catalog.pg_size_pretty(pg_catalog.pg_table_size(c.oid)) FROM pg_catalog.pg_class c",
        "SELECT 'public'::regnamespace, obj_description('pg_catalog.pg_class'::regclass, 'pg_class')",
    ] {
        if let Err(error) = node.answer(sql).await {
            panic!("{sql}\n{error:?}");
        }
    }
    assert!(node.rows("SELECT version()").await[0].starts_with("PostgreSQL 16"));
}

/// The keys of a table, of which it has none, as ADBC's driver and JDBC's ask for them.
#[tokio::test]
async fn there_are_no_keys_in_whatever_words() {
    let node = node();
    let adbc = "WITH fk_unnest AS ( SELECT con.conname, 'FOREIGN KEY' AS contype, conrelid, UNNEST(con.conkey) AS conkey, \
         confrelid, UNNEST(con.confkey) AS confkey FROM pg_catalog.pg_constraint AS con INNER JOIN pg_catalog.pg_class AS \
         cls ON cls.oid = conrelid INNER JOIN pg_catalog.pg_namespace AS nsp ON nsp.oid = cls.relnamespace WHERE \
         con.contype = 'f' AND nsp.nspname = $1 AND cls.relname = $2 ), fk_names AS ( SELECT \
         fk_unnest.conname, fk_unnest.contype, fk_unnest.conkey, fk_unnest.confkey, attr.attname, fnsp.nspname AS \
         fschema, fcls.relname AS ftable, fattr.attname AS fattname FROM fk_unnest INNER JOIN pg_catalog.pg_class AS cls \
         ON cls.oid = fk_unnest.conrelid INNER JOIN pg_catalog.pg_class AS fcls ON fcls.oid = fk_unnest.confrelid INNER \
         JOIN pg_catalog.pg_namespace AS fnsp ON fnsp.oid = fcls.relnamespace INNER JOIN pg_catalog.pg_attribute AS attr \
         ON attr.attnum = fk_unnest.conkey AND attr.attrelid = fk_unnest.conrelid LEFT JOIN pg_catalog.pg_attribute AS \
         fattr ON fattr.attnum = fk_unnest.confkey AND fattr.attrelid = fk_unnest.confrelid ), fkeys AS ( SELECT conname, \
         contype, ARRAY_AGG(attname ORDER BY conkey) AS colnames, fschema, ftable, ARRAY_AGG(fattname ORDER BY confkey) \
         AS fcolnames FROM fk_names GROUP BY conname, contype, fschema, ftable ), other_constraints AS ( SELECT \
         con.conname, CASE con.contype WHEN 'c' THEN 'CHECK' WHEN 'u' THEN 'UNIQUE' WHEN 'p' THEN 'PRIMARY KEY' END AS \
         contype, ARRAY_AGG(attr.attname) AS colnames FROM pg_catalog.pg_constraint AS con CROSS JOIN UNNEST(conkey) AS \
         conkeys INNER JOIN pg_catalog.pg_class AS cls ON cls.oid = con.conrelid INNER JOIN pg_catalog.pg_namespace AS \
         nsp ON nsp.oid = cls.relnamespace INNER JOIN pg_catalog.pg_attribute AS attr ON attr.attnum = conkeys AND \
         cls.oid = attr.attrelid WHERE con.contype IN ('c', 'u', 'p') AND nsp.nspname = $1 AND cls.relname = \
         $2 GROUP BY conname, contype ) SELECT conname, contype, colnames, fschema, ftable, fcolnames FROM fkeys \
         UNION ALL SELECT conname, contype, colnames, NULL, NULL, NULL FROM other_constraints";
    let parameters = vec![ScalarValue::from("traffic"), ScalarValue::from("taxi")];
    let options = QueryOptions::default();
    let prepared = node.asker.prepare(&node.shelf, &Question::from(adbc), &[], now(), &options).await.unwrap();
    assert_eq!(prepared.parameters, [Some(DataType::Utf8), Some(DataType::Utf8)]);
    let asked = Question { parameters, ..Question::from(adbc) };
    assert!(lines(&node.asker.ask(&node.shelf, asked, now(), &options).await.unwrap().batches).is_empty());
    let jdbc = "SELECT NULL::text AS PKTABLE_CAT, pkn.nspname AS PKTABLE_SCHEM, pkc.relname AS PKTABLE_NAME, pka.attname AS \
         PKCOLUMN_NAME, NULL::text AS FKTABLE_CAT, fkn.nspname AS FKTABLE_SCHEM, fkc.relname AS FKTABLE_NAME, fka.attname \
         AS FKCOLUMN_NAME, pos.n AS KEY_SEQ, CASE con.confupdtype WHEN 'c' THEN 0 WHEN 'n' THEN 2 WHEN 'd' THEN 4 WHEN \
         'r' THEN 1 WHEN 'p' THEN 1 WHEN 'a' THEN 3 ELSE NULL END AS UPDATE_RULE, CASE con.confdeltype WHEN 'c' THEN 0 \
         WHEN 'n' THEN 2 WHEN 'd' THEN 4 WHEN 'r' THEN 1 WHEN 'p' THEN 1 WHEN 'a' THEN 3 ELSE NULL END AS DELETE_RULE, \
         con.conname AS FK_NAME, pkic.relname AS PK_NAME, CASE WHEN con.condeferrable AND con.condeferred THEN 5 WHEN \
         con.condeferrable THEN 6 ELSE 7 END AS DEFERRABILITY FROM pg_catalog.pg_namespace pkn, pg_catalog.pg_class pkc, \
         pg_catalog.pg_attribute pka, pg_catalog.pg_namespace fkn, pg_catalog.pg_class fkc, pg_catalog.pg_attribute fka, \
         pg_catalog.pg_constraint con, pg_catalog.generate_series(1, 32) pos(n), pg_catalog.pg_class pkic WHERE pkn.oid = \
         pkc.relnamespace AND pkc.oid = pka.attrelid AND pka.attnum = con.confkey[pos.n] AND con.confrelid = pkc.oid AND \
         fkn.oid = fkc.relnamespace AND fkc.oid = fka.attrelid AND fka.attnum = con.conkey[pos.n] AND con.conrelid = \
         fkc.oid AND con.contype = 'f' AND (pkic.relkind = 'i' OR pkic.relkind = 'I') AND pkic.oid = con.conindid AND \
         fkn.nspname = 'traffic' AND fkc.relname = 'taxi' ORDER BY pkn.nspname,pkc.relname, con.conname,pos.n";
    assert!(node.rows(jdbc).await.is_empty());
    let most = "SELECT setting FROM pg_catalog.pg_settings WHERE name='max_index_keys'";
    assert_eq!(node.rows(most).await, ["32"]);
    let others = "SELECT setting FROM pg_settings WHERE name = 'standard_conforming_strings'";
    assert_eq!(node.rows(others).await, ["on"]);
}

/// How JDBC's driver tells lists from other types.
#[tokio::test]
async fn a_type_says_whether_it_is_a_list() {
    let sql = "SELECT typinput='pg_catalog.array_in'::regproc as is_array, typtype, typname, pg_type.oid FROM \
         pg_catalog.pg_type LEFT JOIN (select ns.oid as nspoid, ns.nspname, r.r from pg_namespace as ns join ( select \
         s.r, (current_schemas(false))[s.r] as nspname from generate_series(1, array_upper(current_schemas(false), 1)) as \
         s(r) ) as r using ( nspname ) ) as sp ON sp.nspoid = typnamespace WHERE typname IN ('int4', '_int4') ORDER BY \
         sp.r, pg_type.oid DESC";
    assert_eq!(node().rows(sql).await, ["true|b|_int4|1007", "false|b|int4|23"]);
}

#[tokio::test]
async fn columns_have_the_types_that_postgresql_calls_them() {
    let node = node();
    let columns = "SELECT c.ordinal_position, column_name, data_type, udt_name FROM information_schema.columns AS c \
                   WHERE table_name = 'taxi' ORDER BY 1";
    assert_eq!(
        node.rows(columns).await,
        ["1|time|timestamp with time zone|timestamptz", "2|borough|text|text", "3|speed|numeric|numeric",]
    );
    let kinds = "SELECT DISTINCT columns.data_type FROM information_schema.columns \
                 WHERE table_name = 'completeness' ORDER BY 1";
    let kinds = node.rows(kinds).await;
    assert_eq!(kinds, ["bigint", "boolean", "double precision", "text", "timestamp with time zone"]);
}

#[tokio::test]
async fn identifiers_and_comments_lead_from_table_to_table() {
    let node = node();
    let columns = "SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, \
                   col_description(c.oid, a.attnum), d.description = col_description(c.oid, a.attnum) \
                   FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                   JOIN pg_attribute a ON a.attrelid = c.oid \
                   LEFT JOIN pg_description d ON d.objoid = c.oid AND d.objsubid = a.attnum \
                   WHERE c.relname = 'taxi' ORDER BY a.attnum";
    let first = node.rows(columns).await;
    assert_eq!(
        first,
        [
            "traffic|taxi|time|timestamp with time zone|true|start of the window; grain 1 day, in America/New_York; time|true",
            "traffic|taxi|borough|text|true|d; dimension|true",
            "traffic|taxi|speed|numeric|false|d; measure; unit mi/h; publishes count, sum, sum_squares|true",
        ]
    );
    let oid = "SELECT oid FROM pg_class WHERE relname = 'taxi'";
    let (before, _, after) = (node.rows(oid).await, node.rows(columns).await, node.rows(oid).await);
    assert_eq!(before, after, "an identifier stays");
    let comment = format!("SELECT obj_description({}, 'pg_class')", before[0]);
    let comment = node.rows(&comment).await;
    assert!(comment[0].contains("method threshold k=10"), "{comment:?}");
}

#[tokio::test]
async fn a_product_is_described_with_unit_role_and_method() {
    let node = node();
    let described = node.rows("DESCRIBE traffic.taxi").await;
    assert_eq!(described, node.rows("DESCRIBE taxi").await);
    assert_eq!(described.len(), 3);
    assert!(described[1].starts_with("borough|text|NO|dimension||"), "{described:?}");
    assert!(described[2].starts_with("speed|numeric|YES|measure|mi/h|count, sum"), "{described:?}");
    assert!(described.iter().all(|row| row.contains("|threshold k=10|")), "{described:?}");
    let gauge = node.rows("DESCRIBE weather.daily").await;
    assert!(gauge[1].contains("|gauge|Cel|") && gauge[1].contains("|open|"), "{gauge:?}");
    assert!(matches!(node.refusal("DESCRIBE traffic.buses").await, QueryError::UnknownTable { .. }));
}

#[tokio::test]
async fn what_names_a_product_keeps_its_meaning_and_the_rule() {
    let node = node();
    // a rewriting for catalogue queries would make NULL of this
    let correlated = "SELECT (SELECT count(*) FROM health.emergency v WHERE v.borough = b.borough) AS visits \
                      FROM (SELECT borough, count(*) AS pg_trips FROM taxi GROUP BY 1) b ORDER BY 1";
    assert!(node.rows(correlated).await.iter().all(|row| row != "NULL"));
    let raw = node.refusal("SELECT t.speed, c.relname FROM taxi t, pg_catalog.pg_class c").await;
    assert!(matches!(raw, QueryError::Refused { code: RefusalCode::RawRows | RefusalCode::Join, .. }), "{raw:?}");
    // nor does a product become the catalogue's by a WITH query of its own name
    let hidden = "WITH taxi AS (SELECT borough, count(*) AS pg_n FROM taxi GROUP BY 1) SELECT \
                  (SELECT sum(b.pg_n) FROM taxi AS b WHERE b.borough = a.borough) AS n FROM taxi AS a ORDER BY 1";
    assert!(node.rows(hidden).await.iter().all(|row| !row.is_empty() && row != "NULL"));
    // a table of the statement's own may be called like one of the catalogue
    assert_eq!(
        node.rows("WITH pg_class AS (SELECT count(*) AS n FROM taxi) SELECT n > 0 FROM pg_class").await,
        ["true"]
    );
}

#[tokio::test]
async fn questions_with_parameters_are_planned_before_and_answered_with_them() {
    let node = node();
    let sql = "SELECT borough, avg(speed) AS speed, count(*) AS trips FROM taxi \
               WHERE time >= $1 AND time < $2 AND borough = $3 GROUP BY borough LIMIT $4";
    let (question, options) = (Question::from(sql), QueryOptions::default());
    let prepared = node.asker.prepare(&node.shelf, &question, &[], now(), &options).await.unwrap();
    let zoned = |kind: &Option<DataType>| matches!(kind, Some(DataType::Timestamp(_, Some(_))));
    assert!(prepared.parameters[..2].iter().all(zoned), "{prepared:?}");
    assert_eq!(prepared.parameters[2..], [Some(DataType::Utf8), Some(DataType::Int64)]);
    let text = |text: &str| ScalarValue::from(text);
    let parameters = vec![text("2020-03-02"), text("2020-03-03"), text("Queens"), ScalarValue::from(5_i64)];
    let asked = Question { parameters, ..question };
    let answer = node.asker.ask(&node.shelf, asked, now(), &options).await.unwrap();
    assert_eq!(lines(&answer.batches), ["Queens|20.02|10"]);
    let kinds = |schema: &arrow::datatypes::SchemaRef| -> Vec<DataType> {
        schema.fields().iter().map(|field| field.data_type().clone()).collect()
    };
    assert_eq!(kinds(&answer.schema), kinds(&prepared.schema));
    // a bound given as a parameter cuts as one that is written out
    let cutting = Question {
        parameters: vec![text("2020-03-02T12:00:00"), text("2020-03-03")],
        ..Question::from("SELECT count(*) FROM taxi WHERE time >= $1 AND time < $2")
    };
    let refusal = node.asker.ask(&node.shelf, cutting, now(), &options).await.unwrap_err();
    assert!(matches!(refusal, QueryError::Refused { code: RefusalCode::WindowCut, .. }), "{refusal:?}");
    // the type that the asker gives wins
    let given = [Some(DataType::Date32)];
    let dated = Question::from("SELECT count(*) FROM taxi WHERE time >= $1");
    let prepared = node.asker.prepare(&node.shelf, &dated, &given, now(), &options).await.unwrap();
    assert_eq!(prepared.parameters, given);
    let raw = Question::from("SELECT speed FROM taxi");
    assert!(node.asker.prepare(&node.shelf, &raw, &[], now(), &options).await.is_err());
}

#[tokio::test]
async fn a_name_without_a_domain_belongs_to_the_one_that_is_asked_from() {
    let node = node();
    let from = |domain: &str| Question {
        domain: Some(domain.to_owned()),
        ..Question::from("SELECT count(*) > 0 FROM emergency")
    };
    let options = QueryOptions::default();
    let answer = node.asker.ask(&node.shelf, from("health"), now(), &options).await.unwrap();
    assert_eq!(lines(&answer.batches), ["true"]);
    assert!(node.asker.ask(&node.shelf, from("traffic"), now(), &options).await.is_err());
    let schema = Question { domain: Some("health".to_owned()), ..Question::from("SELECT current_schema()") };
    assert_eq!(lines(&node.asker.ask(&node.shelf, schema, now(), &options).await.unwrap().batches), ["health"]);
}

#[tokio::test]
async fn a_list_may_be_a_parameter() {
    let node = node();
    let sql =
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY($1)";
    let list = ScalarValue::List(ScalarValue::new_list_nullable(&["traffic".into()], &DataType::Utf8));
    let options = QueryOptions::default();
    let prepared = node.asker.prepare(&node.shelf, &Question::from(sql), &[], now(), &options).await.unwrap();
    assert!(matches!(prepared.parameters.as_slice(), [Some(DataType::List(_))]), "{prepared:?}");
    let asked = Question { parameters: vec![list], ..Question::from(sql) };
    assert_eq!(lines(&node.asker.ask(&node.shelf, asked, now(), &options).await.unwrap().batches), ["taxi"]);
}
