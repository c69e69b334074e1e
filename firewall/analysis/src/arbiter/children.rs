//! The children of every node that a statement on the allowed list can contain.
//!
//! Postgres's own walker skips fields (and fails on utility statements), so the fields are listed here, one node
//! a line; a test compares them with the tree's debug output, which prints every field. A node that is not listed
//! is not understood, and its statement is refused.

use super::Node;

macro_rules! table {
    ($( $variant:ident { $($kind:ident $field:ident $(: $child:ident)?);* } )*) => {
        /// Calls `each` for every child; false if the node's kind is not in the table.
        pub(super) fn children<'a>(node: Node<'a>, each: &mut dyn FnMut(Node<'a>)) -> bool {
            match node {
                Node::None | Node::Integer(_) | Node::Float(_) | Node::Boolean(_) | Node::String(_)
                | Node::BitString(_) | Node::A_Star(_) | Node::A_Const(_) | Node::ParamRef(_) => {}
                Node::ColumnRef(column) => column.fields().iter().for_each(each),
                Node::NodeList(list) => list.iter().for_each(each),
                $( Node::$variant(_node) => { $( table!(@ $kind _node $field each $($child)?); )* } )*
                _ => return false,
            }
            true
        }
    };
    (@ node $n:ident $field:ident $each:ident) => { $each($n.$field()) };
    (@ list $n:ident $field:ident $each:ident) => { $n.$field().iter().for_each(&mut *$each) };
    (@ opt $n:ident $field:ident $each:ident $child:ident) => {
        if let Some(child) = $n.$field() { $each(Node::$child(child)) }
    };
    (@ cast $n:ident $field:ident $each:ident $child:ident) => {
        $n.$field().iter().for_each(|child| $each(Node::$child(child)))
    };
}

table! {
    Alias { list colnames }
    RangeVar { opt alias: Alias }
    IntoClause { opt rel: RangeVar; list col_names; list options }
    GroupingFunc { list args }
    MergeSupportFunc {}
    NamedArgExpr { node arg }
    BoolExpr { list args }
    SubLink { node testexpr; list oper_name; node subselect }
    CaseExpr { node arg; list args; node defresult }
    CaseWhen { node expr; node result }
    RowExpr { list args }
    CoalesceExpr { list args }
    MinMaxExpr { list args }
    SQLValueFunction {}
    XmlExpr { list named_args; list args }
    JsonFormat {}
    JsonReturning { opt format: JsonFormat }
    JsonValueExpr { node raw_expr; opt format: JsonFormat }
    JsonIsPredicate { node expr; opt format: JsonFormat }
    JsonBehavior { node expr }
    NullTest { node arg }
    BooleanTest { node arg }
    SetToDefault {}
    CurrentOfExpr {}
    JoinExpr { node larg; node rarg; opt join_using_alias: Alias; node quals; opt alias: Alias }
    TypeName { list typmods; list array_bounds }
    A_Expr { list name; node lexpr; node rexpr }
    TypeCast { node arg; opt type_name: TypeName }
    CollateClause { node arg; list collname }
    RoleSpec {}
    FuncCall { list funcname; list args; cast agg_order: SortBy; node agg_filter; opt over: WindowDef }
    A_Indices { node lidx; node uidx }
    A_Indirection { node arg; list indirection }
    A_ArrayExpr { list elements }
    ResTarget { list indirection; node val }
    MultiAssignRef { node source }
    SortBy { node node; list use_op }
    WindowDef { list partition_clause; cast order_clause: SortBy; node start_offset; node end_offset }
    RangeSubselect { node subquery; opt alias: Alias }
    RangeFunction { list functions; opt alias: Alias; cast coldeflist: ColumnDef }
    RangeTableFunc { node docexpr; node rowexpr; list namespaces; cast columns: RangeTableFuncCol; opt alias: Alias }
    RangeTableFuncCol { opt type_name: TypeName; node colexpr; node coldefexpr }
    RangeTableSample { node relation; list method; list args; node repeatable }
    ColumnDef { opt type_name: TypeName; node raw_default; opt identity_sequence: RangeVar; opt coll_clause: CollateClause; list constraints; list fdwoptions }
    TableLikeClause { opt relation: RangeVar }
    IndexElem { node expr; list collation; list opclass; list opclassopts }
    DefElem { node arg }
    LockingClause { list locked_rels }
    XmlSerialize { node expr; opt type_name: TypeName }
    PartitionElem { node expr; list collation; list opclass }
    PartitionSpec { cast part_params: PartitionElem }
    PartitionBoundSpec { list listdatums; list lowerdatums; list upperdatums }
    PartitionRangeDatum { node value }
    PartitionCmd { opt name: RangeVar; opt bound: PartitionBoundSpec }
    GroupingSet { list content }
    WithClause { cast ctes: CommonTableExpr }
    InferClause { list index_elems; node where_clause }
    OnConflictClause { opt infer: InferClause; cast target_list: ResTarget; node where_clause }
    CTESearchClause { list search_col_list }
    CTECycleClause { list cycle_col_list; node cycle_mark_value; node cycle_mark_default }
    CommonTableExpr { list aliascolnames; node ctequery; opt search_clause: CTESearchClause; opt cycle_clause: CTECycleClause }
    MergeWhenClause { node condition; list target_list; list values }
    ReturningOption {}
    ReturningClause { cast options: ReturningOption; list exprs }
    JsonOutput { opt type_name: TypeName; opt returning: JsonReturning }
    JsonArgument { opt val: JsonValueExpr }
    JsonFuncExpr { opt context_item: JsonValueExpr; node pathspec; list passing; opt output: JsonOutput; opt on_empty: JsonBehavior; opt on_error: JsonBehavior }
    JsonTablePathSpec { node string }
    JsonTable { opt context_item: JsonValueExpr; opt pathspec: JsonTablePathSpec; list passing; cast columns: JsonTableColumn; opt on_error: JsonBehavior; opt alias: Alias }
    JsonTableColumn { opt type_name: TypeName; opt pathspec: JsonTablePathSpec; opt format: JsonFormat; list columns; opt on_empty: JsonBehavior; opt on_error: JsonBehavior }
    JsonKeyValue { node key; opt value: JsonValueExpr }
    JsonParseExpr { opt expr: JsonValueExpr; opt output: JsonOutput }
    JsonScalarExpr { node expr; opt output: JsonOutput }
    JsonSerializeExpr { opt expr: JsonValueExpr; opt output: JsonOutput }
    JsonObjectConstructor { cast exprs: JsonKeyValue; opt output: JsonOutput }
    JsonArrayConstructor { cast exprs: JsonValueExpr; opt output: JsonOutput }
    JsonArrayQueryConstructor { node query; opt output: JsonOutput; opt format: JsonFormat }
    JsonAggConstructor { opt output: JsonOutput; node agg_filter; list agg_order; opt over: WindowDef }
    JsonObjectAgg { opt constructor: JsonAggConstructor; opt arg: JsonKeyValue }
    JsonArrayAgg { opt constructor: JsonAggConstructor; opt arg: JsonValueExpr }
    InsertStmt { opt relation: RangeVar; list cols; node select_stmt; opt on_conflict_clause: OnConflictClause; opt returning_clause: ReturningClause; opt with_clause: WithClause }
    DeleteStmt { opt relation: RangeVar; list using_clause; node where_clause; opt returning_clause: ReturningClause; opt with_clause: WithClause }
    UpdateStmt { opt relation: RangeVar; cast target_list: ResTarget; node where_clause; list from_clause; opt returning_clause: ReturningClause; opt with_clause: WithClause }
    MergeStmt { opt relation: RangeVar; node source_relation; node join_condition; cast merge_when_clauses: MergeWhenClause; opt returning_clause: ReturningClause; opt with_clause: WithClause }
    SelectStmt { list distinct_clause; opt into_clause: IntoClause; cast target_list: ResTarget; list from_clause; node where_clause; list group_clause; node having_clause; list window_clause; list values_lists; cast sort_clause: SortBy; node limit_offset; node limit_count; cast locking_clause: LockingClause; opt with_clause: WithClause; opt larg: SelectStmt; opt rarg: SelectStmt }
    CreateSchemaStmt { list schema_elts }
    AlterTableStmt { opt relation: RangeVar; list cmds }
    AlterTableCmd { node def }
    ATAlterConstraint {}
    ReplicaIdentityStmt {}
    AlterDomainStmt { list type_name; node def }
    CopyStmt { opt relation: RangeVar; node query; list attlist; cast options: DefElem; node where_clause }
    VariableSetStmt { list args }
    VariableShowStmt {}
    CreateStmt { opt relation: RangeVar; list table_elts; list inh_relations; opt partbound: PartitionBoundSpec; opt partspec: PartitionSpec; opt of_typename: TypeName; cast constraints: Constraint; list nnconstraints; list options }
    Constraint { node raw_expr; list keys; list including; list exclusions; list options; node where_clause; opt pktable: RangeVar; list fk_attrs; list pk_attrs; list fk_del_set_cols }
    CreateSeqStmt { opt sequence: RangeVar; list options }
    AlterSeqStmt { opt sequence: RangeVar; list options }
    CreateDomainStmt { opt type_name: TypeName; opt coll_clause: CollateClause; cast constraints: Constraint }
    DropStmt { list objects }
    TruncateStmt { list relations }
    CommentStmt { node object }
    DeclareCursorStmt { node query }
    ClosePortalStmt {}
    FetchStmt {}
    IndexStmt { opt relation: RangeVar; cast index_params: IndexElem; list index_including_params; cast options: DefElem; node where_clause; list exclude_op_names }
    CreateStatsStmt { list exprs; cast relations: RangeVar }
    StatsElem { node expr }
    RenameStmt { opt relation: RangeVar; node object }
    AlterObjectSchemaStmt { opt relation: RangeVar; node object }
    AlterOwnerStmt { opt relation: RangeVar; node object }
    AlterTypeStmt { list type_name; cast options: DefElem }
    NotifyStmt {}
    ListenStmt {}
    UnlistenStmt {}
    TransactionStmt { list options }
    CompositeTypeStmt { opt typevar: RangeVar; cast coldeflist: ColumnDef }
    CreateEnumStmt {}
    CreateRangeStmt { cast params: DefElem }
    AlterEnumStmt {}
    ClusterStmt { opt relation: RangeVar; cast params: DefElem }
    VacuumStmt { cast options: DefElem; cast rels: VacuumRelation }
    VacuumRelation { opt relation: RangeVar; list va_cols }
    ExplainStmt { node query; cast options: DefElem }
    CreateTableAsStmt { node query; opt into: IntoClause }
    RefreshMatViewStmt { opt relation: RangeVar }
    CheckPointStmt {}
    DiscardStmt {}
    LockStmt { list relations }
    ConstraintsSetStmt { list constraints }
    ReindexStmt { opt relation: RangeVar; cast params: DefElem }
    PrepareStmt { cast argtypes: TypeName; node query }
    ExecuteStmt { list params }
    DeallocateStmt {}
}
