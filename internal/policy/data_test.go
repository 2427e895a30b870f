// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dapr-custody/custody/internal/policy"
)

// dataRule writes one rule about a server in flow style; more stands behind to.
func dataRule(name, effect, from, server, to, more string) string {
	return fmt.Sprintf("  - {name: %s, effect: %s, from: [%s], to: {server: %q, %s}%s}\n", name, effect, from, server, to, more)
}

func use(reads, writes []string, bound ...string) *policy.SQLUse {
	return &policy.SQLUse{Reads: reads, Writes: writes, Bound: bound, HasWhere: len(bound) > 0}
}

func cols(names ...string) []string { return names }

var databasePolicy = doc("db",
	dataRule("reads", "allow", "mcp", "orders-db", "sql: {operations: [select], tables: ['shop.*']}", "")+
		dataRule("status", "allow", "mcp", "orders-db",
			"sql: {operations: [update], tables: [shop.orders], columns: {read: [id, customer_id], write: [status, 'note_*']}, mustFilterBy: {shop.orders: [id]}}", ", maxRows: 10")+
		dataRule("price", "allow", "mcp", "orders-db", "sql: {functions: [shop.price]}", "")+
		dataRule("no-cards", "deny", "mcp", "orders-db", "sql: {operations: ['*'], tables: [shop.customers], columns: [card]}", "")+
		dataRule("own-orders", "allow", "agent", "orders-db",
			"sql: {operations: [select, insert], tables: [shop.orders, shop.items], columns: [id, total], mustFilterBy: {'shop.o*': [customer_id, tenant]}}", "")+
		dataRule("clean", "allow", "janitor", "orders-db", "sql: {operations: [delete], tables: [shop.carts]}", "")+
		dataRule("empty", "allow", "janitor", "orders-db", "sql: {operations: [update, delete], tables: [shop.temp], where: any}", "")+
		dataRule("schema", "allow", "dba", "*", "sql: {operations: ['*'], tables: ['*'], where: any}", "")+
		dataRule("no-drop", "deny", "dba", "orders-db", "sql: {operations: [ddl], tables: ['shop.*']}", "")+
		dataRule("narrow-ddl", "allow", "clerk", "orders-db", "sql: {operations: [select, ddl], tables: ['shop.*'], columns: ['*']}", "")+
		dataRule("europe", "allow", "report", "orders-db", "sql: {operations: [select], tables: ['shop.*']}", `, when: 'params[0] == "eu" && sql.command == "select" && sql.limit >= 0 && "shop.orders" in sql.tables'`))

func TestSQL(t *testing.T) {
	set := compile(t, databasePolicy)
	eu := &policy.Facts{SQL: &policy.Statement{Command: "select", Tables: []string{"shop.orders"}, Limit: 10, Params: []byte(`["eu"]`)}}
	with := func(change func(*policy.Statement)) *policy.Facts {
		s := *eu.SQL
		change(&s)
		return &policy.Facts{SQL: &s}
	}
	for _, tt := range []struct {
		name, caller, kind, table string
		use                       *policy.SQLUse
		facts                     *policy.Facts
		want                      string // the rule, or "-" and the rule that denies
	}{
		{"select", "mcp", "select", "shop.orders", nil, nil, "reads"},
		{"another schema", "mcp", "select", "public.orders", nil, nil, "-"},
		{"schema in another case", "mcp", "select", "Shop.orders", nil, nil, "-"},
		{"unqualified", "mcp", "select", "orders", nil, nil, "-"},
		{"another caller", "other", "select", "shop.orders", nil, nil, "-"},
		{"insert", "mcp", "insert", "shop.orders", nil, nil, "-"},
		{"no operation", "mcp", "", "shop.orders", nil, nil, "-"},
		{"a pattern as operation", "mcp", "*", "shop.orders", nil, nil, "-"},
		{"unnamed", "mcp", "update", "", nil, nil, "-"},
		{"a column that is denied", "mcp", "select", "shop.customers", use(cols("name", "card"), nil), nil, "-no-cards"},
		{"and not", "mcp", "select", "shop.customers", use(cols("name", "card_type"), nil), nil, "reads"},
		{"all columns", "mcp", "select", "shop.customers", use(cols("*"), nil), nil, "-no-cards"},
		{"what is written beside", "mcp", "select", "shop.customers", use(cols("name"), cols("card")), nil, "reads"},
		{"returned under a rule about columns", "agent", "select", "shop.items", use(cols("id"), cols("sku")), nil, "own-orders"},
		{"columns that are not known", "mcp", "select", "shop.customers", nil, nil, "-no-cards"},
		{"a definition may touch each", "mcp", "ddl", "shop.customers", &policy.SQLUse{}, nil, "-no-cards"},
		{"no column", "mcp", "select", "shop.customers", use(nil, nil), nil, "reads"},
		{"update", "mcp", "update", "shop.orders", use(cols("id"), cols("status", "note_2"), "id"), nil, "status"},
		{"update of another column", "mcp", "update", "shop.orders", use(cols("id"), cols("status", "total"), "id"), nil, "-"},
		{"update that reads another", "mcp", "update", "shop.orders", use(cols("id", "total"), cols("status"), "id"), nil, "-"},
		{"update of all columns", "mcp", "update", "shop.orders", use(cols("id"), cols("*"), "id"), nil, "-"},
		{"update without where", "mcp", "update", "shop.orders", use(cols("id"), cols("status")), nil, "-"},
		{"update that binds another", "mcp", "update", "shop.orders", use(cols("id", "customer_id"), cols("status"), "customer_id"), nil, "-"},
		{"update of what is not known", "mcp", "update", "shop.orders", nil, nil, "-"},
		{"call", "mcp", "call", "shop.price", nil, nil, "price"},
		{"another call", "mcp", "call", "shop.prices", nil, nil, "-"},
		{"a table as function", "mcp", "call", "shop.orders", nil, nil, "-"},
		{"bound", "agent", "select", "shop.orders", use(cols("id"), nil, "tenant", "customer_id"), nil, "own-orders"},
		{"one of two bound", "agent", "select", "shop.orders", use(cols("id"), nil, "customer_id"), nil, "-"},
		{"bound in another case", "agent", "select", "shop.orders", use(cols("id"), nil, "tenant", "Customer_id"), nil, "-"},
		{"a table without a filter", "agent", "select", "shop.items", use(cols("id"), nil), nil, "own-orders"},
		{"and a column more", "agent", "select", "shop.items", use(cols("id", "sku"), nil), nil, "-"},
		{"insert that binds", "agent", "insert", "shop.orders", use(nil, cols("id", "total"), "tenant", "customer_id"), nil, "own-orders"},
		{"insert that does not", "agent", "insert", "shop.orders", use(nil, cols("id", "total")), nil, "-"},
		{"delete", "janitor", "delete", "shop.carts", &policy.SQLUse{HasWhere: true}, nil, "clean"},
		{"delete of all", "janitor", "delete", "shop.carts", &policy.SQLUse{}, nil, "-"},
		{"delete of what is not known", "janitor", "delete", "shop.carts", nil, nil, "-"},
		{"delete of all where it may be", "janitor", "delete", "shop.temp", &policy.SQLUse{}, nil, "empty"},
		{"everything", "dba", "delete", "x.y", nil, nil, "schema"},
		{"everything but", "dba", "ddl", "shop.orders", nil, nil, "-no-drop"},
		{"definition elsewhere", "dba", "ddl", "x.y", nil, nil, "schema"},
		{"functions are not tables", "dba", "call", "x.f", nil, nil, "-"},
		{"definition under a rule about columns", "clerk", "ddl", "shop.orders", &policy.SQLUse{}, nil, "-"},
		{"selection under it", "clerk", "select", "shop.orders", nil, nil, "narrow-ddl"},
		{"reading under it", "clerk", "select", "shop.orders", use(cols("*"), nil), nil, "narrow-ddl"},
		{"condition", "report", "select", "shop.orders", nil, eu, "europe"},
		{"other parameter", "report", "select", "shop.orders", nil, with(func(s *policy.Statement) { s.Params = []byte(`["us"]`) }), "-"},
		{"no parameter", "report", "select", "shop.orders", nil, with(func(s *policy.Statement) { s.Params = nil }), "-europe"},
		{"an object", "report", "select", "shop.orders", nil, with(func(s *policy.Statement) { s.Params = []byte(`{"0":"eu"}`) }), "-europe"},
		{"two lists", "report", "select", "shop.orders", nil, with(func(s *policy.Statement) { s.Params = []byte(`["eu"]["eu"]`) }), "-europe"},
		{"other command", "report", "select", "shop.orders", nil, with(func(s *policy.Statement) { s.Command = "create table as" }), "-"},
		{"no limit", "report", "select", "shop.orders", nil, with(func(s *policy.Statement) { s.Limit = -1 }), "-"},
		{"other tables", "report", "select", "shop.orders", nil, with(func(s *policy.Statement) { s.Tables = nil }), "-"},
		{"no statement", "report", "select", "shop.orders", nil, &policy.Facts{}, "-europe"},
		{"no facts", "report", "select", "shop.orders", nil, nil, "-europe"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := policy.Request{
				Caller: app(tt.caller), Facts: tt.facts,
				Action: policy.Action{Kind: "sql." + tt.kind, Server: "orders-db", Name: tt.table, Use: tt.use},
			}
			d := set.Decide(r)
			got := d.Rule
			if d.Effect != policy.Allow {
				got = "-" + got
			}
			require.Equal(t, tt.want, got, d.Reason)
			require.Equal(t, d, set.DecideAll(r.Caller, []policy.Action{r.Action}, r.Facts))
			agrees(t, set, r, d)
			r.Action.Server = ""
			require.Equal(t, policy.Deny, set.Decide(r).Effect, "without a server")
		})
	}
	d := set.Decide(policy.Request{Caller: app("mcp"), Action: policy.Action{
		Kind: policy.KindSQLUpdate, Server: "orders-db", Name: "shop.orders", Use: use(nil, cols("status"), "id"),
	}})
	require.Equal(t, 10, d.Obligations.MaxRows)
	require.Equal(t, policy.Deny, set.Decide(tool(app("dba"), "orders-db", "shop.orders")).Effect, "a table is no tool")
	require.False(t, set.Reaches(app("dba"), "orders-db"), "nor is a database a server of MCP")
}

// agrees holds that Explain and Foresee agree with a decision.
func agrees(t *testing.T, set *policy.Set, r policy.Request, d policy.Decision) {
	t.Helper()
	decides := ""
	for _, rule := range set.Explain(r) {
		if rule.Decides {
			decides += rule.Rule
		}
	}
	require.Equal(t, d.Rule, decides)
	facts := policy.Facts{}
	if r.Facts != nil {
		facts = *r.Facts
	}
	f := set.Concerning(r.Caller, r.Action).Foresee(facts)
	require.Equal(t, []string{string(d.Effect), d.Rule, d.Reason}, []string{string(f.Effect), f.Rule, f.Reason})
}

func TestExplainSaysHowATableIsUsed(t *testing.T) {
	set := compile(t, databasePolicy)
	for _, tt := range []struct {
		caller, kind, table string
		use                 *policy.SQLUse
		rule, why           string
	}{
		{"mcp", "update", "shop.orders", use(cols("id"), cols("total"), "id"), "status", `it writes column "total", which columns does not name`},
		{"mcp", "update", "shop.orders", use(cols("total"), cols("status"), "id"), "status", `it reads column "total", which columns does not name`},
		{"mcp", "update", "shop.orders", use(nil, nil), "status", "it has no WHERE that chooses the rows"},
		{"agent", "select", "shop.orders", use(nil, nil, "tenant"), "own-orders", `it does not bind column "customer_id", which mustFilterBy names`},
		{"clerk", "ddl", "shop.orders", nil, "narrow-ddl", "it defines data, and the rule is about columns and filters"},
		{"mcp", "select", "shop.customers", use(cols("name"), nil), "no-cards", "it touches no column that the rule denies"},
	} {
		r := ask(app(tt.caller), "sql."+tt.kind, "orders-db", tt.table)
		r.Action.Use = tt.use
		for _, rule := range set.Explain(r) {
			if rule.Rule == tt.rule {
				require.Equal(t, policy.OtherUse, rule.Match)
				require.Equal(t, tt.why, rule.Why)
				tt.rule = ""
			}
		}
		require.Empty(t, tt.rule)
	}
	for _, rule := range set.Explain(ask(app("mcp"), policy.KindStateGet, "orders-db", "k")) {
		if rule.Match == policy.OtherAction {
			require.Equal(t, "none of its sql matches", rule.Why)
		}
	}
}

// What is not known of the use of a table is not guessed.
func TestForeseeWithoutUse(t *testing.T) {
	set := compile(t, databasePolicy)
	foresee := func(caller, kind, table string) policy.Foresight {
		return set.Concerning(app(caller), policy.Action{Kind: "sql." + kind, Server: "orders-db", Name: table}).Foresee(policy.Facts{}, policy.FactUse, policy.FactSQL)
	}
	require.Equal(t, policy.Allow, foresee("mcp", "select", "shop.orders").Effect)
	require.Equal(t, policy.Deny, foresee("mcp", "insert", "shop.orders").Effect)
	for _, tt := range [][4]string{
		{"mcp", "select", "shop.customers", "no-cards"},
		{"mcp", "update", "shop.orders", "status"},
		{"janitor", "delete", "shop.carts", "clean"},
		{"report", "select", "shop.orders", "europe"},
	} {
		f := foresee(tt[0], tt[1], tt[2])
		require.Equal(t, policy.Depends, f.Effect)
		require.Equal(t, tt[3], f.Depends[0].Rule)
	}
	require.Equal(t, policy.Allow, foresee("janitor", "delete", "shop.temp").Effect)
}

func TestWhoCanOfData(t *testing.T) {
	set := compile(t, databasePolicy, storePolicy)
	who := func(kind, server, name string) (grants []string) {
		for _, g := range set.WhoCan(policy.Action{Kind: kind, Server: server, Name: name}) {
			text := g.Rule
			for _, demand := range g.Demands {
				text += "; " + demand
			}
			for _, e := range g.Except {
				text += fmt.Sprintf(" except %s all %t %v", e.Rule, e.All, e.Demands)
			}
			grants = append(grants, text)
		}
		return grants
	}
	require.Equal(t, []string{"audit", "bulk", "own"}, who(policy.KindStateGet, "cart-store", "other"))
	require.Equal(t, []string{"audit", "bulk except never all true []", "own"}, who(policy.KindStateQuery, "cart-store", "*"))
	require.Equal(t, []string{"reads except no-cards all false [columns read: card; written: card]", "schema", "narrow-ddl; columns read: *; written: *", "europe"},
		who(policy.KindSQLSelect, "orders-db", "shop.customers"))
	require.Equal(t, []string{"schema except no-drop all true []", "narrow-ddl; columns read: *; written: *"}, who(policy.KindSQLDDL, "orders-db", "shop.orders"))
	require.Equal(t, []string{"status; columns read: customer_id, id; written: note_*, status; shop.orders filtered by id; where required", "schema"},
		who(policy.KindSQLUpdate, "orders-db", "shop.orders"))
	require.Equal(t, []string{"price"}, who(policy.KindSQLCall, "orders-db", "shop.price"))
	require.Empty(t, who(policy.KindSQLCall, "other-db", "shop.price"))
}

// A statement that touches no table is for whom some rule lets do anything there.
func TestSQLWithoutTable(t *testing.T) {
	set := compile(t, databasePolicy, doc("more",
		dataRule("all", "allow", "limited", "orders-db", "sql: {operations: [select], tables: ['*']}", ", rate: 1/hour")+
			dataRule("tables-only", "deny", "janitor", "orders-db", "sql: {operations: [select], tables: ['shop.*', '*.carts']}", "")+
			dataRule("blind", "allow", "blind", "orders-db", "sql: {operations: [insert], tables: ['*']}", "")+
			dataRule("sees-nothing", "deny", "blind", "orders-db", "sql: {operations: [select], tables: ['*']}", "")+
			dataRule("granted", "allow", "granted", "orders-db", "sql: {operations: [select], tables: ['*']}", ", requireGrant: true")+
			dataRule("forbidden", "deny", "forbidden", "orders-db", "sql: {operations: [select], tables: ['*']}", "")+
			dataRule("keys", "allow", "stateful", "orders-db", "state: {operations: ['*'], keys: ['*']}", "")))
	for caller, want := range map[string]string{
		"mcp": policy.ReasonReaches, "report": policy.ReasonReaches, "janitor": policy.ReasonReaches, "limited": policy.ReasonAllowed,
		"blind": policy.ReasonDenied, "granted": policy.ReasonNoGrant, "forbidden": policy.ReasonDenied, "nobody": policy.ReasonNoRule, "stateful": policy.ReasonNoRule,
	} {
		r := ask(app(caller), policy.KindSQLSelect, "orders-db", "")
		d := set.Decide(r)
		require.Equal(t, want, d.Reason, caller)
		require.Equal(t, want == policy.ReasonReaches || want == policy.ReasonAllowed, d.Effect == policy.Allow, caller)
		require.Equal(t, want == policy.ReasonAllowed, d.Obligations != nil, caller)
		r.Action.Server = "other-db"
		require.Equal(t, policy.Deny, set.Decide(r).Effect, caller)
		require.Equal(t, d.Effect, set.Concerning(app(caller), policy.Action{Kind: policy.KindSQLSelect, Server: "orders-db"}).Foresee(policy.Facts{}).Effect, caller)
	}
	require.Equal(t, policy.Deny, set.Decide(ask(app("mcp"), policy.KindSQLUpdate, "orders-db", "")).Effect)
}

var storePolicy = doc("carts",
	dataRule("carts", "allow", "cart", "cart-store", "state: {operations: [get, set, delete], keys: ['cart-*', 'all']}", "")+
		dataRule("audit", "allow", "audit", "*", "state: {operations: [get, query, keys], keys: ['*']}", "")+
		dataRule("no-secrets", "deny", "audit", "cart-store", "state: {operations: [get], keys: ['secret-*']}", "")+
		dataRule("bulk", "allow", "bulk", "cart-store", "state: {operations: ['*'], keys: ['*']}", "")+
		dataRule("never", "deny", "bulk", "cart-store", "state: {operations: [transact, query], keys: ['{fixed}*']}", "")+
		dataRule("listing", "allow", "lister", "cart-store", "state: {operations: [keys], keys: ['cart-*']}", "")+
		dataRule("own", "allow", "own", "cart-store", "state: {operations: [get, query], keys: ['*']}",
			`, when: 'state.operation in ["get", "query"] && state.key.startsWith(caller.appID + "-")'`))

// What a rule asks holds for a statement without a table too, where its condition
// cannot be evaluated as well.
func TestNoTableObliges(t *testing.T) {
	rule := func(caller, when, more string) string {
		return fmt.Sprintf("  - {name: %s, effect: allow, from: [%s], to: {server: db, sql: {operations: [select], tables: ['*']}}, when: %q, %s}\n", caller, caller, when, more)
	}
	set := compile(t, doc("p", rule("a", `params[0] == "eu"`, "maxRows: 10, rate: 3/minute")+rule("b", "false", "maxRows: 10")+
		rule("c", `params[0] == "eu"`, "requireGrant: true")))
	for caller, want := range map[string][]string{
		"a": {"allow", "rate: 3/minute", "maxRows: 10"}, "b": {"allow"}, "c": {"deny"}, "d": {"deny"},
	} {
		action := policy.Action{Kind: policy.KindSQLSelect, Server: "db"}
		facts := policy.Facts{SQL: &policy.Statement{Command: "select"}}
		require.Equal(t, want, effectAndWords(set.Decide(policy.Request{Caller: app(caller), Action: action, Facts: &facts})), caller)
		require.Equal(t, want, effectAndWords(set.DecideAll(app(caller), []policy.Action{action}, &facts)), caller)
		f := set.Concerning(app(caller), action).Foresee(facts)
		require.Equal(t, want, append([]string{string(f.Effect)}, f.Obligations.Words()...), caller)
	}
}

func TestState(t *testing.T) {
	set := compile(t, storePolicy)
	for _, tt := range []struct{ caller, operation, key, want string }{
		{"cart", "get", "cart-1", "carts"},
		{"cart", "set", "all", "carts"},
		{"cart", "delete", "cart-", "carts"},
		{"cart", "get", "cart", "-"},
		{"cart", "get", "Cart-1", "-"},
		{"cart", "get", "x cart-1", "-"},
		{"cart", "get cart-", "1", "-"},
		{"cart", "get", "", "-"},
		{"cart", "transact", "cart-1", "-"},
		{"cart", "query", "*", "-"},
		{"cart", "", "cart-1", "-"},
		{"other", "get", "cart-1", "-"},
		{"audit", "get", "cart-1", "audit"},
		{"audit", "get", "secret-1", "-no-secrets"},
		{"audit", "query", "*", "audit"},
		{"audit", "keys", "*", "audit"},
		{"audit", "set", "cart-1", "-"},
		{"bulk", "transact", "cart-1", "bulk"},
		{"bulk", "transact", "{fixed}", "-never"},
		{"bulk", "set", "{fixed}", "bulk"},
		{"bulk", "query", "*", "-never"},
		{"bulk", "query", "*-1", "-never"},
		{"bulk", "query", "cart-*", "bulk"},
		{"bulk", "keys", "*", "bulk"},
		{"lister", "keys", "cart-*", "listing"},
		{"lister", "keys", "cart-7*", "listing"},
		{"lister", "keys", "car*", "-"},
		{"lister", "keys", "*", "-"},
		{"lister", "keys", "", "-"},
		{"own", "get", "own-1", "own"},
		{"own", "get", "cart-1", "-"},
		{"own", "query", "*", "-own"},
	} {
		r := ask(app(tt.caller), "state."+tt.operation, "cart-store", tt.key)
		d := set.Decide(r)
		got := d.Rule
		if d.Effect != policy.Allow {
			got = "-" + got
		}
		require.Equal(t, tt.want, got, "%v: %s", tt, d.Reason)
		agrees(t, set, r, d)
		require.NotEqual(t, "carts", set.Decide(ask(app(tt.caller), "state."+tt.operation, "other", tt.key)).Rule)
	}
}

// What nobody thought of is refused when the policy is loaded.
func TestDataErrors(t *testing.T) {
	const shop = "operations: [select], tables: ['shop.*', other.t]"
	for _, tt := range []struct{ effect, to, more, want string }{
		{"allow", "state: {operations: [get]}", "", "state.keys: is missing: add it"},
		{"allow", "state: {operations: [gett], keys: [a]}", "", `state.operations[0]: "gett" is no operation: did you mean "get"?`},
		{"allow", "state: {operations: [drop], keys: [a]}", "", "write one of get, set, delete, query, transact, keys"},
		{"allow", "state: {operations: [get], keys: [a], key: b}", "", `state.key: unknown field: did you mean "keys"?`},
		{"allow", "sql: {operations: [get], tables: [a.b]}", "", "write one of select, insert, update, delete, ddl"},
		{"allow", "sql: {operations: [call], tables: [a.b]}", "", `"call" is no operation`},
		{"allow", "sql: {operations: [select]}", "", "sql.tables: is missing"},
		{"allow", "sql: {tables: [a.b]}", "", "sql.operations: is missing"},
		{"allow", "sql: {}", "", "name operations and tables, or functions"},
		{"allow", "sql: {operations: [select], tables: [orders]}", "", `"orders" names no schema: write schema.name, as in shop.orders`},
		{"deny", "sql: {functions: [price]}", "", `"price" names no schema`},
		{"allow", "sql: {functions: [a.f], columns: [x]}", "", "sql.columns: is about tables"},
		{"allow", "sql: {functions: [a.f], where: any}", "", "sql.where: is about tables"},
		{"allow", "sql: {" + shop + ", columns: {}}", "", "name columns under read, write or both"},
		{"allow", "sql: {" + shop + ", columns: {reads: [a]}}", "", `did you mean "read"?`},
		{"allow", "sql: {" + shop + ", mustFilterBy: {orders: [a]}}", "", `mustFilterBy.orders: "orders" names no schema`},
		{"allow", "sql: {" + shop + ", mustFilterBy: {shopp.orders: [a]}}", "", "mustFilterBy.shopp.orders: is none of the tables of the rule"},
		{"allow", "sql: {" + shop + ", mustFilterBy: {shop.orders: ['*']}}", "", "name one column"},
		{"allow", "sql: {" + shop + ", mustFilterBy: [a]}", "", "want a mapping of tables to lists of columns"},
		{"deny", "sql: {" + shop + ", mustFilterBy: {shop.orders: [a]}}", "", "mustFilterBy: a rule that denies makes no demands"},
		{"deny", "sql: {" + shop + ", where: required}", "", "where: a rule that denies makes no demands"},
		{"allow", "sql: {" + shop + ", where: require}", "", `"require" is not known: did you mean "required"?`},
		{"allow", "sql: {" + shop + "}", ", redact: {detectors: [email]}", "redact: nothing can be redacted in what a state store or database answers"},
		{"allow", "state: {operations: [get], keys: [a]}", ", redact: {detectors: [email]}", "redact: nothing can be redacted"},
		{"allow", "state: {operations: [get], keys: [a]}", ", maxRows: 3", "maxRows: only statements have rows"},
		{"allow", "tools: [a], sql: {" + shop + "}", ", maxRows: 3", "maxRows: only statements have rows"},
		{"allow", "sql: {" + shop + "}", ", maxRows: 0", "want a whole number from 1 to 1000000000"},
		{"deny", "sql: {" + shop + "}", ", maxRows: 3", "a rule that denies carries no obligation"},
		{"allow", "tools: [a]", ", when: 'params[0] == 1'", "params, sql.command, sql.tables and sql.limit are for rules that name sql and nothing else"},
		{"allow", "tools: [a], sql: {" + shop + "}", `, when: 'sql.command == "select"'`, "are for rules that name sql and nothing else"},
		{"allow", "sql: {" + shop + "}", `, when: 'state.key == "a"'`, "state.key and state.operation are for rules that name state and nothing else"},
		{"allow", "state: {operations: [get], keys: [a]}", `, when: 'sql.limit == 1'`, "are for rules that name sql and nothing else"},
		{"allow", "state: {operations: [get], keys: [a]}", `, when: 'state.kee == "a"'`, "state is used by its members: write one of state.key, state.operation"},
		{"allow", "sql: {" + shop + "}", `, when: 'sql.comand == "a"'`, "sql is used by its members: write one of sql.command, sql.tables, sql.limit"},
		{"allow", "sql: {" + shop + "}", `, when: 'sql.limit == "a"'`, "found no matching overload"},
		{"allow", "sql: {" + shop + "}", `, when: 'parms[0] == 1'`, "params, request, session, sql"},
	} {
		_, err := policy.Parse("f.yaml", []byte(doc("p", dataRule("r", tt.effect, "a", "db", tt.to, tt.more))))
		require.Error(t, err, tt.to+tt.more)
		require.Contains(t, problem(t, err), tt.want)
	}
}

// A request is denied if and only if one of its parts is, whatever the rules.
func TestDecideAllIsEachPart(t *testing.T) {
	set := compile(t, databasePolicy, storePolicy, doc("more",
		dataRule("limited", "allow", "mcp", "orders-db", "sql: {operations: [select], tables: [shop.orders, shop.items]}", ", rate: 5/minute, maxRows: 3, maxResultBytes: 100")+
			dataRule("limited-too", "allow", "mcp", "orders-db", "sql: {operations: [select], tables: ['shop.*']}", ", rate: 5/minute, maxRows: 20, when: 'sql.limit < 100'")),
		header+"metadata: {name: next}\nspec:\n  mode: shadow\n  rules:\n"+
			dataRule("no-items", "deny", "mcp", "orders-db", "sql: {operations: [select], tables: [shop.items]}", ""))
	facts := &policy.Facts{SQL: &policy.Statement{Command: "select", Tables: []string{"shop.orders"}, Params: []byte(`["eu"]`)}}
	allowed := 0
	rapid.Check(t, func(t *rapid.T) {
		caller := app(rapid.SampledFrom([]string{"mcp", "agent", "janitor", "dba", "report", "bulk", "own", "audit"}).Draw(t, "caller"))
		parts := make([]policy.Action, rapid.IntRange(0, 4).Draw(t, "parts"))
		effect, shadow := policy.Allow, policy.Allow
		for i := range parts {
			parts[i] = rapid.SampledFrom([]policy.Action{
				{Kind: "sql.select", Name: "shop.orders"},
				{Kind: "sql.select", Name: "shop.items", Use: use(cols("id"), nil)},
				{Kind: "sql.select", Name: "shop.items", Use: use(cols("sku"), nil)},
				{Kind: "sql.select", Name: "shop.customers", Use: use(cols("card"), nil)},
				{Kind: "sql.select"},
				{Kind: "sql.call", Name: "shop.price"},
				{Kind: "sql.update", Name: "shop.orders", Use: use(cols("id"), cols("status"), "id")},
				{Kind: "sql.delete", Name: "shop.carts", Use: &policy.SQLUse{HasWhere: true}},
				{Kind: "state.get", Name: "own-1"},
				{Kind: "state.get", Name: "secret-1"},
				{Kind: "state.query", Name: "*"},
				{Kind: "mcp.ping"},
			}).Draw(t, "part")
			parts[i].Server = rapid.SampledFrom([]string{"orders-db", "orders-db", "cart-store"}).Draw(t, "server")
			d := set.Decide(policy.Request{Caller: caller, Action: parts[i], Facts: facts})
			would := d.Effect
			if d.Shadow != nil {
				would = d.Shadow.Effect
			}
			if d.Effect != policy.Allow {
				effect = policy.Deny
			}
			if would != policy.Allow {
				shadow = policy.Deny
			}
		}
		d := set.DecideAll(caller, parts, facts)
		if len(parts) == 0 {
			require.Equal(t, policy.Deny, d.Effect)
			return
		}
		require.Equal(t, effect, d.Effect, "%v", parts)
		would := d.Effect
		if d.Shadow != nil {
			would = d.Shadow.Effect
		}
		require.Equal(t, shadow, would, "%v", parts)
		if d.Effect == policy.Allow {
			allowed++
		}
	})
	require.Positive(t, allowed)
	orders := policy.Action{Kind: "sql.select", Server: "orders-db", Name: "shop.orders"}
	customers := policy.Action{Kind: "sql.select", Server: "orders-db", Name: "shop.customers", Use: use(nil, nil)}
	d := set.DecideAll(app("mcp"), []policy.Action{orders, customers, orders}, facts)
	require.Equal(t, []string{"rate: 5/minute", "maxResultBytes: 100", "maxRows: 3"}, d.Obligations.Words())
	require.Len(t, d.Obligations.Rates, 2, "one of each rule, however many parts")
	require.Equal(t, "reads", d.Rule)
	d = set.DecideAll(app("mcp"), []policy.Action{customers}, facts)
	require.Equal(t, []string{"rate: 5/minute", "maxRows: 20"}, d.Obligations.Words())
	require.Equal(t, policy.ReasonNoSet, (*policy.Set)(nil).DecideAll(app("mcp"), []policy.Action{orders}, facts).Reason)
}

// The conditions of all parts together cost no more than those of one request may.
func TestPartsCostTogether(t *testing.T) {
	set := compile(t, doc("p", dataRule("r", "allow", "a", "s", "state: {operations: [get], keys: ['*']}",
		`, when: 'args.list.all(x, args.list.exists(y, y == x)) && state.key != ""'`)))
	list := "0"
	for i := 1; i < 100; i++ {
		list += fmt.Sprintf(",%d", i)
	}
	facts := &policy.Facts{Arguments: []byte(`{"list":[` + list + `]}`)}
	var parts []policy.Action
	for i := range 100 {
		parts = append(parts, policy.Action{Kind: policy.KindStateGet, Server: "s", Name: fmt.Sprintf("k%d", i)})
	}
	require.Equal(t, policy.Allow, set.DecideAll(app("a"), parts[:2], facts).Effect)
	d := set.DecideAll(app("a"), parts, facts)
	require.Equal(t, policy.Deny, d.Effect)
	require.Contains(t, d.Reason, "cost too much together")
}

func TestHeadline(t *testing.T) {
	part := func(kind, name string) policy.Action {
		return policy.Action{Kind: kind, Server: "s", Name: name, Use: &policy.SQLUse{}}
	}
	want := func(kind, name string) policy.Action { return policy.Action{Kind: kind, Server: "s", Name: name} }
	require.Equal(t, policy.Action{}, policy.Headline(nil))
	require.Equal(t, want("sql.select", "a.a"), policy.Headline([]policy.Action{part("sql.select", "a.a"), part("sql.select", "a.b")}))
	require.Equal(t, want("sql.update", "a.b"), policy.Headline([]policy.Action{part("sql.select", "a.a"), part("sql.update", "a.b"), part("sql.insert", "a.c")}))
	require.Equal(t, want("state.transact", "k"), policy.Headline([]policy.Action{part("state.set", "k"), part("state.transact", "k"), part("state.delete", "l")}))
	require.Equal(t, want("other", "k"), policy.Headline([]policy.Action{part("other", "k"), part("other", "l")}))
}

// Equal rules have equal digests, and what they say differently shows in them.
func TestDataDigests(t *testing.T) {
	digest := func(effect, to string) string {
		return compile(t, doc("p", dataRule("r", effect, "a", "db", to, ""))).Digest()
	}
	base := digest("allow", "sql: {operations: [select, update], tables: [a.b, a.c], columns: {read: [x, y], write: [z]}, mustFilterBy: {a.b: [x], a.c: [y]}}")
	require.Equal(t, base, digest("allow", "sql: {where: required, mustFilterBy: {a.c: [y, y], a.b: [x]}, columns: {write: [z], read: [y, x]}, tables: [a.c, a.b], operations: [update, select]}"))
	seen := map[string]string{}
	for _, to := range []string{
		"sql: {operations: [select], tables: [a.b]}", "sql: {operations: [select], tables: [a.b], columns: ['*']}", "sql: {operations: [select], tables: [a.b], columns: {read: ['*']}}",
		"sql: {operations: [select], tables: [a.b], columns: {write: ['*']}}", "sql: {operations: [update], tables: [a.b]}", "sql: {operations: [update], tables: [a.b], where: any}",
		"sql: {operations: ['*'], tables: [a.b]}", "sql: {functions: [a.b]}", "sql: {operations: [select], tables: [a.b], mustFilterBy: {a.b: [x]}}",
		"sql: {operations: [select], tables: [a.b], mustFilterBy: {'a.*': [x]}}", "sql: {operations: [select], tables: [a.b], mustFilterBy: {a.b: [x, y]}}",
		"sql: {operations: [select], tables: [a.b], columns: {read: ['x, y']}}", "sql: {operations: [select], tables: [a.b], columns: {read: [x, y]}}",
		"state: {operations: [get], keys: [a.b]}", "state: {operations: ['*'], keys: [a.b]}", "tools: [a.b]", "tools: [a.b], state: {operations: [get], keys: [a.b]}",
	} {
		d := digest("allow", to)
		require.Empty(t, seen[d], to)
		seen[d] = to
	}
	// Policies without any of it have the digest that they had before there was any.
	require.Equal(t, "97de549dbf07918f10879837da560878c0ad90f26e2e74bb772fb855cd7f5864", compile(t, doc("p", ruleText("r", "allow", "a", "server: s, tools: [get]"))).Digest())
}
