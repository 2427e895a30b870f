// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import "github.com/jackc/pgx/v5/pgconn"

// conditions are the names of conditions by SQLSTATE (PostgreSQL's appendix A) that a statement of the door can meet, and
// classes those of their classes.
var conditions = map[string]string{
	"08000": "connection_exception", "08003": "connection_does_not_exist", "08006": "connection_failure", "08P01": "protocol_violation",
	"0A000": "feature_not_supported", "21000": "cardinality_violation",
	"22000": "data_exception", "22001": "string_data_right_truncation", "22003": "numeric_value_out_of_range", "22004": "null_value_not_allowed",
	"22007": "invalid_datetime_format", "22008": "datetime_field_overflow", "22011": "substring_error", "22012": "division_by_zero",
	"2201B": "invalid_regular_expression", "2201E": "invalid_argument_for_logarithm", "2201W": "invalid_row_count_in_limit_clause",
	"2201X": "invalid_row_count_in_result_offset_clause", "22021": "character_not_in_repertoire", "22023": "invalid_parameter_value",
	"22P02": "invalid_text_representation", "22P03": "invalid_binary_representation", "22P05": "untranslatable_character",
	"23000": "integrity_constraint_violation", "23001": "restrict_violation", "23502": "not_null_violation", "23503": "foreign_key_violation",
	"23505": "unique_violation", "23514": "check_violation", "23P01": "exclusion_violation",
	"25006": "read_only_sql_transaction", "25P02": "in_failed_sql_transaction", "25P03": "idle_in_transaction_session_timeout",
	"26000": "invalid_sql_statement_name", "28000": "invalid_authorization_specification", "28P01": "invalid_password",
	"3D000": "invalid_catalog_name", "3F000": "invalid_schema_name", "40001": "serialization_failure", "40002": "transaction_integrity_constraint_violation",
	"40003": "statement_completion_unknown", "40P01": "deadlock_detected", "42501": "insufficient_privilege", "42601": "syntax_error",
	"42602": "invalid_name", "42611": "invalid_column_definition", "42622": "name_too_long", "42701": "duplicate_column", "42702": "ambiguous_column",
	"42703": "undefined_column", "42704": "undefined_object", "42710": "duplicate_object", "42712": "duplicate_alias", "42723": "duplicate_function",
	"42725": "ambiguous_function", "42803": "grouping_error", "42804": "datatype_mismatch", "42809": "wrong_object_type", "42830": "invalid_foreign_key",
	"42846": "cannot_coerce", "42883": "undefined_function", "42939": "reserved_name", "42P01": "undefined_table", "42P02": "undefined_parameter",
	"42P07": "duplicate_table", "42P08": "ambiguous_parameter", "42P09": "ambiguous_alias", "42P10": "invalid_column_reference", "42P18": "indeterminate_datatype",
	"42P19": "invalid_recursion", "42P20": "windowing_error", "42P21": "collation_mismatch", "42P22": "indeterminate_collation",
	"44000": "with_check_option_violation", "53000": "insufficient_resources", "53100": "disk_full", "53200": "out_of_memory", "53300": "too_many_connections",
	"54000": "program_limit_exceeded", "54001": "statement_too_complex", "54011": "too_many_columns", "54023": "too_many_arguments",
	"55000": "object_not_in_prerequisite_state", "55006": "object_in_use", "55P03": "lock_not_available",
	"57000": "operator_intervention", "57014": "query_canceled", "57P01": "admin_shutdown", "57P02": "crash_shutdown", "57P03": "cannot_connect_now",
	"57P04": "database_dropped", "57P05": "idle_session_timeout", "58030": "io_error", "P0001": "raise_exception", "XX000": "internal_error",
	"XX001": "data_corrupted", "XX002": "index_corrupted",
}

var classes = map[string]string{
	"08": "connection_exception", "09": "triggered_action_exception", "0A": "feature_not_supported", "0F": "locator_exception", "20": "case_not_found",
	"21": "cardinality_violation", "22": "data_exception", "23": "integrity_constraint_violation", "24": "invalid_cursor_state",
	"25": "invalid_transaction_state", "26": "invalid_sql_statement_name", "27": "triggered_data_change_violation",
	"28": "invalid_authorization_specification", "2B": "dependent_privilege_descriptors_still_exist", "2D": "invalid_transaction_termination",
	"2F": "sql_routine_exception", "34": "invalid_cursor_name", "38": "external_routine_exception", "39": "external_routine_invocation_exception",
	"3B": "savepoint_exception", "3D": "invalid_catalog_name", "3F": "invalid_schema_name", "40": "transaction_rollback",
	"42": "syntax_error_or_access_rule_violation", "44": "with_check_option_violation", "53": "insufficient_resources", "54": "program_limit_exceeded",
	"55": "object_not_in_prerequisite_state", "57": "operator_intervention", "58": "system_error", "F0": "config_file_error", "HV": "fdw_error",
	"P0": "plpgsql_error", "XX": "internal_error",
}

// condition names what the database answered with, without anything of its text.
func condition(err *pgconn.PgError) string {
	code := err.Code
	if len(code) != 5 {
		return "an error without SQLSTATE"
	}
	name := conditions[code]
	if name == "" {
		name = classes[code[:2]]
	}
	if name == "" {
		name = "of another class"
	}
	return "SQLSTATE " + printable(code) + " " + name
}

// printable keeps a code of the server's from being anything but five letters or digits.
func printable(code string) string {
	for _, r := range code {
		if (r < '0' || r > '9') && (r < 'A' || r > 'Z') {
			return "?????"
		}
	}
	return code
}

// undisclosed are answers that would tell whether something exists which the caller may not touch. They are told alike.
var undisclosed = map[string]bool{"42501": true, "42P01": true, "3F000": true}

// sentence is what the caller is told of an answer of the database: nothing of its text, since that holds values of rows.
func sentence(err *pgconn.PgError) string {
	if undisclosed[err.Code] {
		return "a table or schema is not there, or may not be used like this"
	}
	switch err.Code {
	case "57014":
		return "the statement took longer than the database document lets it, and was cancelled (" + condition(err) + ")"
	case "55P03":
		return "a lock was not to be had in time (" + condition(err) + ")"
	case "53300":
		return "the database takes no more connections (" + condition(err) + ")"
	case "57P01", "57P02", "57P03":
		return "the database is being stopped or started (" + condition(err) + ")"
	case "25006":
		return "what the statement runs would write, and the statement only reads (" + condition(err) + ")"
	}
	return "the database refused it: " + condition(err)
}
