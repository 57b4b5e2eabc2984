//! One question, from its text to its answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use civicmesh_model::names::ProductId;
use civicmesh_model::time::UtcMicros;
use datafusion::common::TableReference;
use datafusion::common::config::Dialect;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{FunctionRegistry, SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement;
use futures::TryStreamExt;
use tokio::sync::Semaphore;

use crate::catalog::Catalogue;
use crate::completeness::ProductCompleteness;
use crate::engine::{Answer, CityView, QueryOptions};
use crate::error::{QueryError, Stage};
use crate::forms;
use crate::limits::Limits;
use crate::product::Product;
use crate::reading::Reader;
use crate::rewrite::Rewriter;
use crate::roomy::Roomy;
use crate::scans;
use crate::shelf::{Shelf, Standing};
use crate::statement;
use crate::using;
use crate::wall::WallClock;

/// Functions that make large values of small ones, past every bound on memory. They are left out.
const MULTIPLYING: &[&str] = &["repeat", "lpad", "rpad", "array_repeat", "array_resize", "range", "generate_series"];

/// Answers questions over any snapshot.
pub(crate) struct Asker {
    city: CityView,
    limits: Limits,
    base: SessionState,
    permits: Semaphore,
}

impl Asker {
    pub(crate) fn new(city: CityView, limits: Limits) -> Result<Self, QueryError> {
        let mut config = SessionConfig::new()
            .with_default_catalog_and_schema(&city.name, city.domain.as_str())
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(true)
            .with_target_partitions(limits.partitions.max(1));
        let options = config.options_mut();
        options.execution.time_zone = Some(city.zone.name().to_owned());
        options.sql_parser.dialect = Dialect::Generic;
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(limits.memory_bytes_max)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()
            .map_err(|_| QueryError::Internal("the query runtime could not be made"))?;
        let mut base = SessionStateBuilder::new_with_default_features()
            .with_session_id("civicmesh".to_owned())
            .with_config(config)
            .with_runtime_env(runtime)
            .build();
        for function in MULTIPLYING {
            let known = base.deregister_udf(function);
            known.map_err(|_| QueryError::Internal("a function could not be left out"))?;
        }
        let permits = Semaphore::new(limits.queries_max);
        Ok(Self { city, limits, base, permits })
    }

    /// Answers one question, within the limits. Dropping the future ends the work.
    pub(crate) async fn ask(
        &self,
        shelf: &Shelf<'_>,
        sql: &str,
        now: UtcMicros,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        let Limits { queries_max, time_ms_max, .. } = self.limits;
        let _permit = self.permits.try_acquire().map_err(|_| QueryError::Busy { queries_max })?;
        let answer = Roomy(Box::pin(self.answer(shelf, sql, now, options)));
        match tokio::time::timeout(Duration::from_millis(time_ms_max), answer).await {
            Ok(answer) => answer,
            Err(_) => Err(QueryError::TimedOut { time_ms_max }),
        }
    }

    async fn answer(
        &self,
        shelf: &Shelf<'_>,
        sql: &str,
        now: UtcMicros,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        let planning = |error: DataFusionError| self.error(&error, Stage::Plan);
        let standings: BTreeMap<ProductId, Standing> =
            shelf.standings()?.into_iter().map(|standing| (standing.product.clone(), standing)).collect();
        let state = self.state(&standings, now);
        let plan = self.plan(&state, sql, &standings).await?;
        let optimized = state.optimize(&plan).map_err(planning)?;
        let reader = Reader::new(shelf, &state, now, &self.limits);
        let mut completeness = Vec::new();
        for (product, scans) in scans::of_plan(&optimized).map_err(planning)? {
            let standing = standings.get(&product).ok_or(QueryError::Internal("a product without a standing"))?;
            let read = reader.read(&scans, standing);
            completeness.push(read.map_err(|error| self.error(&error, Stage::Execute))?);
        }
        if !matches!(plan, LogicalPlan::Explain(_)) {
            check(&completeness, options)?;
        }
        let physical = state.query_planner().create_physical_plan(&optimized, &state).await.map_err(planning)?;
        let physical = yielding(physical).map_err(planning)?;
        let schema = physical.schema();
        let batches = self.collect(&state, physical).await?;
        Ok(Answer { schema, batches, completeness })
    }

    /// The session of one question: what it can name, what its time is, how it is analyzed.
    fn state(&self, standings: &BTreeMap<ProductId, Standing>, now: UtcMicros) -> SessionState {
        let granted = standings.values().filter(|standing| standing.granted);
        let contracts = granted.filter_map(|standing| standing.contract.clone());
        let products: Vec<_> = contracts.map(|contract| Arc::new(Product::new(contract, self.city.zone))).collect();
        let mut state = SessionStateBuilder::new_from_existing(self.base.clone())
            .with_catalog_list(Arc::new(Catalogue::new(&self.city.name, &products)))
            .with_analyzer_rules(vec![
                Arc::new(Rewriter { zone: self.city.zone, now }),
                Arc::new(ResolveGroupingFunction::new()),
                Arc::new(TypeCoercion::new()),
                Arc::new(WallClock),
            ])
            .build();
        let props = state.execution_props_mut();
        props.query_execution_start_time = chrono::DateTime::from_timestamp_micros(now.0);
        state
    }

    /// The plan of a statement that reads, checked for what it names; an explained one is checked as if it were asked.
    async fn plan(
        &self,
        state: &SessionState,
        sql: &str,
        standings: &BTreeMap<ProductId, Standing>,
    ) -> Result<LogicalPlan, QueryError> {
        let planning = |error: DataFusionError| self.error(&error, Stage::Plan);
        if sql.len() > self.limits.sql_bytes_max {
            let limit = self.limits.sql_bytes_max as u64;
            return Err(QueryError::TooLarge { what: "the question's text in bytes", limit });
        }
        let mut statement = state.sql_to_statement(sql, &Dialect::Generic).map_err(planning)?;
        statement::must_be_small(&statement)?;
        statement::must_read(&statement)?;
        forms::must_be_kept_to(&statement)?;
        using::write_out(&mut statement)?;
        self.must_be_known(state, &statement, standings)?;
        let plan = state.statement_to_plan(statement).await.map_err(planning)?;
        let reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        reads.verify_plan(&plan).map_err(|_| statement::read_only())?;
        if let LogicalPlan::Explain(explain) = &plan {
            state.optimize(&explain.plan).map_err(planning)?;
        }
        Ok(plan)
    }

    /// Whether every table that the statement names can be asked.
    fn must_be_known(
        &self,
        state: &SessionState,
        statement: &Statement,
        standings: &BTreeMap<ProductId, Standing>,
    ) -> Result<(), QueryError> {
        let names = state.resolve_table_references(statement).map_err(|error| self.error(&error, Stage::Plan))?;
        for name in names {
            let is_function =
                matches!(&name, TableReference::Bare { table } if state.table_functions().contains_key(table.as_ref()));
            let resolved = name.clone().resolve(&self.city.name, self.city.domain.as_str());
            if is_function || resolved.schema.as_ref() == "information_schema" {
                continue;
            }
            let id = format!("{}.{}", resolved.schema, resolved.table).parse::<ProductId>().ok();
            let standing = id.filter(|_| resolved.catalog.as_ref() == self.city.name);
            match standing.and_then(|id| standings.get(&id)) {
                Some(Standing { granted: true, contract: Some(_), .. }) => {}
                Some(Standing { granted: false, product, .. }) => {
                    return Err(QueryError::NotGranted { owner: product.domain.clone(), product: product.clone() });
                }
                _ => {
                    let known = standings.values().filter(|standing| standing.granted && standing.contract.is_some());
                    let known = known.map(|standing| standing.product.to_string()).collect();
                    return Err(QueryError::UnknownTable { name: name.to_string(), known });
                }
            }
        }
        Ok(())
    }

    async fn collect(
        &self,
        state: &SessionState,
        plan: Arc<dyn ExecutionPlan>,
    ) -> Result<Vec<RecordBatch>, QueryError> {
        let failed = |error: DataFusionError| self.error(&error, Stage::Execute);
        let mut stream = execute_stream(plan, state.task_ctx()).map_err(failed)?;
        let (mut batches, mut bytes) = (Vec::new(), 0);
        while let Some(batch) = stream.try_next().await.map_err(failed)? {
            bytes += batch.get_array_memory_size();
            if bytes > self.limits.result_bytes_max {
                let limit = self.limits.result_bytes_max as u64;
                return Err(QueryError::TooLarge { what: "the answer in bytes", limit });
            }
            batches.push(batch);
        }
        Ok(batches)
    }

    fn error(&self, error: &DataFusionError, stage: Stage) -> QueryError {
        QueryError::of(error, stage, self.limits.memory_bytes_max as u64)
    }
}

/// The plan with a place to yield above each operator that makes many batches of one, so that the time limit and a
/// client that hangs up are noticed. (DataFusion yields where batches come from, not where they multiply.)
fn yielding(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let multiplies = |plan: &Arc<dyn ExecutionPlan>| {
        plan.children().len() > 1 || matches!(plan.name(), "UnnestExec" | "RecursiveQueryExec")
    };
    let wrap = |plan: Arc<dyn ExecutionPlan>| {
        Ok(match multiplies(&plan) {
            true => Transformed::yes(Arc::new(CooperativeExec::new(plan)) as Arc<dyn ExecutionPlan>),
            false => Transformed::no(plan),
        })
    };
    Ok(plan.transform_up(wrap)?.data)
}

/// Whether the answer may be given at all.
fn check(completeness: &[ProductCompleteness], options: &QueryOptions) -> Result<(), QueryError> {
    let suppressed = completeness.iter().filter(|product| product.cells_suppressed > 0);
    let products: Vec<_> = suppressed.map(|product| product.product.clone()).collect();
    if !products.is_empty() && completeness.iter().all(|product| product.cells == 0) {
        return Err(QueryError::AllSuppressed { products });
    }
    let gaps: Vec<String> = completeness.iter().flat_map(ProductCompleteness::gaps).collect();
    match options.require_complete && !gaps.is_empty() {
        true => Err(QueryError::Incomplete { gaps }),
        false => Ok(()),
    }
}
