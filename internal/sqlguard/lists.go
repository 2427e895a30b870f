// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard

import (
	"slices"
	"strings"
)

// harmless are the volatile functions that change nothing and wait for nothing.
var harmless = []string{
	"random", "random_normal", "gen_random_uuid", "uuidv4", "uuidv7", "clock_timestamp", "timeofday",
}

// runners are functions that nobody can name, whatever schema they stand in: they run SQL text or change settings, or
// read and write files or the network. A * ends a prefix.
var runners = []string{
	"query_to_xml*", "cursor_to_xml*", "table_to_xml*", "schema_to_xml*", "database_to_xml*",
	"ts_stat", "ts_rewrite", "set_config",
	"dblink*", "crosstab*", "connectby", "xpath_table", "http", "http_*", "net_*", "schedule*", "unschedule",
	"lo_import*", "lo_export", "pg_read_*", "pg_file_*", "pg_ls_*", "pg_stat_file", "pg_current_logfile",
	"pg_logfile_*", "pg_logdir_*", "pg_rotate_logfile*", "pg_reload_conf", "pg_promote",
	"pg_terminate_backend", "pg_cancel_backend", "binary_upgrade_*",
}

// runnerSchemas are schemas of extensions that exist to do such things.
var runnerSchemas = []string{"cron", "net", "dblink", "pg_background", "plpython3u", "aws_lambda", "aws_s3", "aws_commons"}

// refusedNames are functions of pg_catalog that are STABLE or IMMUTABLE and yet wait, write, assign a transaction ID,
// or tell of the server, its settings and its catalogue; and volatile ones that must be refused even if a version of
// PostgreSQL should label them otherwise. A rule can name them.
var refusedNames = []string{
	"lo_*", "loread", "lowrite", "nextval", "setval", "currval", "lastval", "setseed",
	"txid_*", "currtid*", "current_setting", "current_query", "version", "row_security_active",
	"inet_client_*", "inet_server_*", "has_*_privilege", "obj_description", "shobj_description", "col_description",
	"*_validator", "fmgr_*", "satisfies_hash_partition", "acl*", "makeaclitem", "to_reg*", "reg*", "format_type", "oidvectortypes", "getdatabaseencoding", "getpgusername", "gin_*", "brin_*", "amvalidate",
}

// regular are the functions that "reg*" does not mean.
var regular = []string{
	"regexp_count", "regexp_instr", "regexp_like", "regexp_match", "regexp_matches", "regexp_replace",
	"regexp_split_to_array", "regexp_split_to_table", "regexp_substr",
	"regr_avgx", "regr_avgy", "regr_count", "regr_intercept", "regr_r2", "regr_slope", "regr_sxx", "regr_sxy", "regr_syy",
}

// ordinary are the functions whose name begins with pg_ and that tell nothing of the server. All others are refused.
var ordinary = []string{
	"pg_typeof", "pg_column_size", "pg_column_compression", "pg_size_pretty", "pg_size_bytes", "pg_collation_for",
	"pg_char_to_encoding", "pg_encoding_to_char", "pg_client_encoding",
	"pg_lsn_mi",
}

// internals are the pseudo-types of the server's machinery. What takes or returns one is not for statements: an input
// function of a type, called by name, runs the checks of any domain; a handler is a pointer.
var internals = []string{
	"cstring", "internal", "trigger", "event_trigger", "language_handler", "fdw_handler", "tsm_handler",
	"index_am_handler", "table_am_handler", "opaque", "pg_ddl_command",
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		before, after, wild := strings.Cut(pattern, "*")
		if !wild {
			return pattern == name
		}
		return len(name) >= len(before)+len(after) && strings.HasPrefix(name, before) && strings.HasSuffix(name, after)
	})
}

func runsAnything(row *FunctionRow) bool {
	return matches(runners, row.Name) || slices.Contains(runnerSchemas, row.Schema)
}

func takesInternals(row *FunctionRow) bool {
	return slices.Contains(internals, row.Returns) ||
		slices.ContainsFunc(row.Arguments, func(argument string) bool { return slices.Contains(internals, argument) })
}

func refusedByName(name string) bool {
	if strings.HasPrefix(name, "pg_") {
		return !slices.Contains(ordinary, name)
	}
	return matches(refusedNames, name) && !slices.Contains(regular, name)
}

// types are those of pg_catalog that a statement may name: the data types. Types that stand for objects of the
// catalogue (regclass and its kin), pseudo-types and composite types are left out.
var types = setOf(`
	bool int2 int4 int8 float4 float8 numeric money text varchar bpchar char name bytea uuid
	date time timetz timestamp timestamptz interval json jsonb jsonpath xml bit varbit
	inet cidr macaddr macaddr8 point line lseg box path polygon circle tsvector tsquery regconfig regdictionary
	int4range int8range numrange tsrange tstzrange daterange
	int4multirange int8multirange nummultirange tsmultirange tstzmultirange datemultirange
	oid tid xid8 pg_lsn  smallserial serial bigserial serial2 serial4 serial8`)

// arrayless strips what PostgreSQL puts before the name of an array type.
func arrayless(name string) string { return strings.TrimPrefix(name, "_") }

func setOf(words string) map[string]bool {
	set := map[string]bool{}
	for _, word := range strings.Fields(words) {
		set[word] = true
	}
	return set
}
