//! One question, from its text to its answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::DataType;
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
use datafusion::execution::{FunctionRegistry, SessionState, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as Sql;
use futures::TryStreamExt;
use tokio::time::Instant;

use crate::browse::{self, Browser, functions};
use crate::catalog::Catalogue;
use crate::checked::Checked;
use crate::completeness;
use crate::describe;
use crate::engine::{Answer, CityView, QueryOptions};
use crate::error::{QueryError, Stage};
use crate::error_bounds;
use crate::explain;
use crate::figures;
use crate::forms;
use crate::hands::Hands;
use crate::limits::Limits;
use crate::merged::Merged;
use crate::opaque::OpaqueFilters;
use crate::plans::{self, Known, Plan, Plans, Uses};
use crate::product::Product;
use crate::question::{self, Prepared, Question};
use crate::ranks;
use crate::reading::Reader;
use crate::rewrite::{Cut, Rewriter};
use crate::roomy::Roomy;
use crate::running::Running;
use crate::scans::{self, Scans};
use crate::settled;
use crate::shelf::{Shelf, Standing};
use crate::statement;
use crate::template::Template;
use crate::text::Room;
use crate::tokens;
use crate::told::{self, CompletenessTable, Told};
use crate::using;
use crate::wall::WallClock;

/// Functions that make large values of small ones, past every bound on memory. They are left out.
const MULTIPLYING: &[&str] = &["repeat", "lpad", "rpad", "array_repeat", "array_resize", "range", "generate_series"];

/// What a question is asked of.
struct Asked<'a> {
    shelf: &'a Shelf<'a>,
    standings: &'a BTreeMap<ProductId, Standing>,
    now: UtcMicros,
    options: &'a QueryOptions,
}

/// Answers questions over any snapshot.
pub(crate) struct Asker {
    city: CityView,
    limits: Limits,
    base: SessionState,
    browser: Browser,
    running: Running,
    plans: Plans,
    merged: Merged,
    hands: Hands,
    /// What runs plans that were kept: it knows no function by name, they have theirs.
    task: Arc<TaskContext>,
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
        // A join's filter finds its column by name, and where two share one may find the other: rows are lost.
        options.optimizer.enable_dynamic_filter_pushdown = false;
        options.optimizer.enable_join_dynamic_filter_pushdown = false;
        options.optimizer.enable_topk_dynamic_filter_pushdown = false;
        options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(limits.memory_bytes_max)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()
            .map_err(|_| QueryError::Internal("the query runtime could not be made"))?;
        let mut base = SessionStateBuilder::new_with_default_features()
            .with_session_id("civicmesh".to_owned())
            .with_config(config)
            .with_runtime_env(runtime)
            .with_physical_optimizer_rules(physical_rules())
            .build();
        for function in MULTIPLYING {
            let known = base.deregister_udf(function);
            known.map_err(|_| QueryError::Internal("a function could not be left out"))?;
        }
        for function in error_bounds::functions(&base) {
            base.register_udaf(function).map_err(|_| QueryError::Internal("a function could not be added"))?;
        }
        let browser = Browser::new(&city.name);
        for function in functions::of_catalogue() {
            base.register_udf(function).map_err(|_| QueryError::Internal("a function could not be added"))?;
        }
        let mut base = SessionStateBuilder::new_from_existing(base).with_type_planner(browse::type_planner()).build();
        share_options(&mut base);
        let running = Running::new(&limits);
        let task = TaskContext::default().with_session_config(base.config().clone());
        let task = Arc::new(task.with_runtime(base.runtime_env().clone()));
        let (plans, merged, hands) = (Plans::default(), Merged::default(), Hands::new(limits.helpers));
        Ok(Self { city, limits, base, browser, running, plans, merged, hands, task })
    }

    /// Answers one question, within the limits. Dropping the future ends the work.
    pub(crate) async fn ask(
        &self,
        shelf: &Shelf<'_>,
        question: impl Into<Question>,
        now: UtcMicros,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        let question = question.into();
        self.must_be_short(&question.sql)?;
        self.bounded(self.answer(shelf, &question, now, options)).await
    }

    /// Plans one question, within the limits, and tells its columns and the types of its parameters.
    pub(crate) async fn prepare(
        &self,
        shelf: &Shelf<'_>,
        question: &Question,
        types: &[Option<DataType>],
        now: UtcMicros,
        options: &QueryOptions,
    ) -> Result<Prepared, QueryError> {
        self.must_be_short(&question.sql)?;
        tokens::must_be_shallow(&question.sql)?;
        self.bounded(self.prepared(shelf, question, types, now, options)).await
    }

    /// Before any parser sees it.
    fn must_be_short(&self, sql: &str) -> Result<(), QueryError> {
        if sql.len() > self.limits.sql_bytes_max {
            let limit = self.limits.sql_bytes_max as u64;
            return Err(QueryError::TooLarge { what: "the question's text in bytes", limit });
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn merged(&self) -> &Merged {
        &self.merged
    }

    #[cfg(test)]
    pub(crate) fn plans(&self) -> &Plans {
        &self.plans
    }

    async fn bounded<T>(&self, work: impl Future<Output = Result<T, QueryError>> + Send) -> Result<T, QueryError> {
        let time_ms_max = self.limits.time_ms_max;
        let _place = self.running.admit(Instant::now())?;
        match tokio::time::timeout(Duration::from_millis(time_ms_max), Roomy(Box::pin(work))).await {
            Ok(done) => done,
            Err(_) => Err(QueryError::TimedOut { time_ms_max }),
        }
    }

    /// What the types of the answer's columns would be if every parameter were null: of a parameter without which the
    /// question cannot be judged, those that the planner sees.
    async fn prepared(
        &self,
        shelf: &Shelf<'_>,
        question: &Question,
        types: &[Option<DataType>],
        now: UtcMicros,
        options: &QueryOptions,
    ) -> Result<Prepared, QueryError> {
        let planning = |error: DataFusionError| self.error(&error, Stage::Plan);
        let standings = standings(shelf)?;
        let state = self.state(question, &standings, now, &Cut::new(options.window_cut), None).await?;
        let plan = self.plan(&state, &question.sql, &standings).await?;
        let parameters = question::parameters(&plan, types).map_err(planning)?;
        let nulls = question::nulls(&parameters).map_err(planning)?;
        let filled = question::filled(plan.clone(), &nulls).map_err(planning)?;
        let plan = match state.optimize(&filled) {
            Ok(optimized) => optimized,
            Err(error) if parameters.is_empty() => return Err(planning(error)),
            Err(_) => plan,
        };
        let schema = match plan {
            LogicalPlan::Explain(_) => explain::schema(self.city.zone),
            plan => Arc::clone(plan.schema().inner()),
        };
        Ok(Prepared { schema, parameters })
    }

    async fn answer(
        &self,
        shelf: &Shelf<'_>,
        question: &Question,
        now: UtcMicros,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        let planning = |error: DataFusionError| self.error(&error, Stage::Plan);
        let standings = standings(shelf)?;
        if let Some(plan) = self.kept(question, &standings, now, options).await {
            let asked = Asked { shelf, standings: &standings, now, options };
            return self.computed(asked, &self.base, self.task.clone(), plan, false).await;
        }
        tokens::must_be_shallow(&question.sql)?;
        let cut = Cut::new(options.window_cut);
        let state = self.state(question, &standings, now, &cut, None).await?;
        let plan = self.plan(&state, &question.sql, &standings).await?;
        let plan = question::filled(plan, &question.parameters).map_err(planning)?;
        let optimized = state.optimize(&plan).map_err(planning)?;
        let explains = matches!(plan, LogicalPlan::Explain(_));
        let asked = Asked { shelf, standings: &standings, now, options };
        let answer = self.computed(asked, &state, state.task_ctx(), optimized, explains).await?;
        Ok(Answer { notices: cut.notices(), ..answer })
    }

    /// The plan of a question like one that was asked before. None where none is kept, or this question is unlike it.
    async fn kept(
        &self,
        question: &Question,
        standings: &BTreeMap<ProductId, Standing>,
        now: UtcMicros,
        options: &QueryOptions,
    ) -> Option<LogicalPlan> {
        let template = Template::of(&question.sql, &question.parameters)?;
        let audience = plans::audience(standings);
        let key = (template.text.clone(), question.domain.clone(), options.window_cut);
        let plan = match self.plans.known(&key, &audience) {
            Known::New | Known::Unfit => return None,
            Known::Kept(plan) => plan,
            Known::Planless => {
                let plan = self.template_plan(question, &template, standings, now, options).await;
                let plan = plan.ok().flatten().map(Arc::new);
                self.plans.keep(key, audience, plan.clone());
                plan?
            }
        };
        plan.filled(&template.constants).ok().flatten()
    }

    /// Plans a template; none where its plan cannot be kept.
    async fn template_plan(
        &self,
        question: &Question,
        template: &Template,
        standings: &BTreeMap<ProductId, Standing>,
        now: UtcMicros,
        options: &QueryOptions,
    ) -> Result<Option<Plan>, QueryError> {
        let planning = |error: DataFusionError| self.error(&error, Stage::Plan);
        tokens::must_be_shallow(&template.text)?;
        let open = Question { sql: template.text.clone(), parameters: Vec::new(), domain: question.domain.clone() };
        let (cut, uses) = (Cut::new(options.window_cut), Uses::default());
        let state = self.state(&open, standings, now, &cut, Some(uses.clone())).await?;
        let plan = self.plan(&state, &open.sql, standings).await?;
        let optimized = state.optimize(&plan).map_err(planning)?;
        // what was moved is told with every question
        if !cut.notices().is_empty() {
            return Ok(None);
        }
        Plan::new(optimized, template, &uses).map_err(planning)
    }

    /// Reads what an optimized plan needs, and computes the answer.
    async fn computed(
        &self,
        asked: Asked<'_>,
        state: &SessionState,
        task: Arc<TaskContext>,
        optimized: LogicalPlan,
        explains: bool,
    ) -> Result<Answer, QueryError> {
        let planning = |error: DataFusionError| self.error(&error, Stage::Plan);
        let Asked { shelf, standings, now, options } = asked;
        let reader = Reader::new(shelf, state, now, &self.limits, &self.merged, &self.hands);
        let reader = Reader { explains, ..reader };
        let (mut completeness, mut trails) = (Vec::new(), Vec::new());
        let read = |(product, scans): (ProductId, Scans)| {
            let standing = standings.get(&product).ok_or(QueryError::Internal("a product without a standing"))?;
            reader.read(&scans, standing).map_err(|error| self.error(&error, Stage::Execute))
        };
        let scans = scans::of_plan(&optimized).map_err(planning)?.into_iter().collect();
        self.hands.each(scans, read, |(complete, trail)| {
            trails.extend(trail.map(|trail| trail.row(&complete)));
            completeness.push(complete);
            Ok(())
        })?;
        if let Some(table) = CompletenessTable::of_plan(&optimized).map_err(planning)? {
            let table = table.downcast_ref::<CompletenessTable>();
            let table = table.ok_or(QueryError::Internal("a table that is another"))?;
            let filled = self.told(&reader, standings).and_then(|told| table.fill(&told));
            filled.map_err(|error| self.error(&error, Stage::Execute))?;
        }
        if !explains {
            completeness::must_suffice(&completeness, options)?;
        }
        let planned = settled::without(optimized.clone()).map_err(planning)?;
        let physical = state.query_planner().create_physical_plan(&planned, state).await.map_err(planning)?;
        let physical = yielding(physical).map_err(planning)?;
        let schema = figures::mark(&physical.schema(), &optimized, &completeness).map_err(planning)?;
        let batches = self.collect(task, physical).await?;
        if explains {
            let batches = explain::beside(&batches, &trails, self.city.zone).map_err(planning)?;
            let schema = explain::schema(self.city.zone);
            return Ok(Answer { schema, batches, completeness, notices: Vec::new() });
        }
        let marked = batches.into_iter().map(|batch| batch.with_schema(schema.clone())).collect::<Result<_, _>>();
        let batches = marked.map_err(|_| QueryError::Internal("an answer has another schema than its plan"))?;
        Ok(Answer { schema, batches, completeness, notices: Vec::new() })
    }

    /// How complete every product is, over all of its time.
    fn told(
        &self,
        reader: &Reader<'_>,
        standings: &BTreeMap<ProductId, Standing>,
    ) -> Result<Vec<Told>, DataFusionError> {
        let told = |standing: &Standing| match &standing.contract {
            Some(contract) if standing.granted => {
                let whole = Scans::whole(Arc::new(Product::new(contract.clone(), self.city.zone)));
                reader.read(&whole, standing).map(|(completeness, _)| Told::Granted(completeness))
            }
            _ => Ok(Told::NotGranted(standing.clone())),
        };
        standings.values().map(told).collect()
    }

    /// The session of one question: what it can name, what its time is, how it is analyzed.
    async fn state(
        &self,
        question: &Question,
        standings: &BTreeMap<ProductId, Standing>,
        now: UtcMicros,
        cut: &Cut,
        uses: Option<Uses>,
    ) -> Result<SessionState, QueryError> {
        let granted = standings.values().filter(|standing| standing.granted);
        let contracts = granted.filter_map(|standing| standing.contract.clone());
        let products: Vec<_> = contracts.map(|contract| Arc::new(Product::new(contract, self.city.zone))).collect();
        let catalogue = Catalogue::new(&self.city.name, self.city.zone, &products);
        let browsing = self.browser.open(&question.sql, &catalogue, &products).await;
        let browsing = browsing.map_err(|error| self.error(&error, Stage::Plan))?;
        let domain = question.domain.as_deref().unwrap_or(self.city.domain.as_str());
        let mut state = SessionStateBuilder::new_from_existing(self.base.clone())
            .with_catalog_list(Arc::new(catalogue.with_pg_catalog(browsing.tables)))
            .with_analyzer_rules(vec![
                Arc::new(Rewriter { zone: self.city.zone, now, cut: cut.clone(), uses }),
                Arc::new(ResolveGroupingFunction::new()),
                Arc::new(TypeCoercion::new()),
                Arc::new(WallClock),
                Arc::new(Checked { room: Room::new(&self.base.runtime_env().memory_pool) }),
            ])
            .build();
        let props = state.execution_props_mut();
        props.query_execution_start_time = chrono::DateTime::from_timestamp_micros(now.0);
        state.config_mut().options_mut().catalog.default_schema = domain.to_owned();
        for function in browsing.functions.into_iter().chain(functions::of_session(&self.city.name, domain)) {
            state.register_udf(function).map_err(|_| QueryError::Internal("a function could not be added"))?;
        }
        share_options(&mut state);
        Ok(state)
    }

    /// The plan of a statement that reads, checked for what it names; an explained one is checked as if it were asked.
    async fn plan(
        &self,
        state: &SessionState,
        sql: &str,
        standings: &BTreeMap<ProductId, Standing>,
    ) -> Result<LogicalPlan, QueryError> {
        let planning = |error: DataFusionError| self.error(&error, Stage::Plan);
        let domain = &state.config_options().catalog.default_schema;
        let is_product = |name: &str| {
            standings.keys().any(|product| product.domain.as_str() == domain && product.product.as_str() == name)
        };
        let mut statement = match self.browser.statement(sql, is_product) {
            Some(statement) => statement,
            None => state.sql_to_statement(sql, &Dialect::Generic).map_err(planning)?,
        };
        statement::must_be_small(&statement)?;
        statement::must_read(&statement)?;
        forms::must_be_kept_to(&statement)?;
        using::write_out(&mut statement)?;
        ranks::sign(&mut statement);
        error_bounds::write_out(&mut statement)?;
        self.must_be_known(state, &statement, standings)?;
        if let Some(product) = described(state, &statement) {
            let contract = standings.get(&product).and_then(|standing| standing.contract.as_ref());
            let contract = contract.ok_or(QueryError::Internal("a known product without a contract"))?;
            return describe::plan(contract, self.city.zone).map_err(planning);
        }
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
            let resolved = name.clone().resolve(&self.city.name, &state.config_options().catalog.default_schema);
            let is_told = resolved.schema.as_ref() == told::SCHEMA && resolved.table.as_ref() == told::COMPLETENESS;
            if is_function || is_told || matches!(resolved.schema.as_ref(), "information_schema" | browse::SCHEMA) {
                continue;
            }
            let id = format!("{}.{}", resolved.schema, resolved.table).parse::<ProductId>().ok();
            let standing = id.filter(|_| resolved.catalog.as_ref() == self.city.name);
            match standing.and_then(|id| standings.get(&id)) {
                Some(Standing { granted: true, contract: Some(_), .. }) => {}
                Some(Standing { granted: false, product, .. }) => {
                    return Err(QueryError::NotGranted { owner: product.domain.clone(), product: product.clone() });
                }
                Some(Standing { contract: None, product, .. }) => {
                    return Err(QueryError::UnreadableContract(product.clone()));
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
        task: Arc<TaskContext>,
        plan: Arc<dyn ExecutionPlan>,
    ) -> Result<Vec<RecordBatch>, QueryError> {
        let failed = |error: DataFusionError| self.error(&error, Stage::Execute);
        let mut stream = execute_stream(plan, task).map_err(failed)?;
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

/// DataFusion's rules, after one of ours. Those that push filters down find columns by name, and where two share one
/// may find the other; the logical plan's filters are where they belong already.
fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let first: Arc<dyn PhysicalOptimizerRule + Send + Sync> = Arc::new(OpaqueFilters);
    let others = PhysicalOptimizer::new().rules.into_iter().filter(|rule| !rule.name().starts_with("FilterPushdown"));
    std::iter::once(first).chain(others).collect()
}

/// Has all functions of a plan hold the same options. Without it each is given options of its own, and where two
/// functions are compared, all of these are written out.
fn share_options(state: &mut SessionState) {
    let options = state.config().options().clone();
    state.execution_props_mut().config_options = Some(options);
}

/// Every product that is known, by its name.
fn standings(shelf: &Shelf<'_>) -> Result<BTreeMap<ProductId, Standing>, QueryError> {
    Ok(shelf.standings()?.into_iter().map(|standing| (standing.product.clone(), standing)).collect())
}

/// The product that the statement describes, if it does.
fn described(state: &SessionState, statement: &Statement) -> Option<ProductId> {
    let Statement::Statement(statement) = statement else { return None };
    let Sql::ExplainTable { .. } = statement.as_ref() else { return None };
    let [name] = state.resolve_table_references(&Statement::Statement(statement.clone())).ok()?.try_into().ok()?;
    let resolved = name.resolve("", &state.config_options().catalog.default_schema);
    format!("{}.{}", resolved.schema, resolved.table).parse().ok()
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
