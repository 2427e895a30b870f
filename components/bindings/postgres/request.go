// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dapr/components-contrib/bindings"
)

// What can be asked of the binding, as of Dapr's.
const (
	operationExec  bindings.OperationKind = "exec"
	operationQuery bindings.OperationKind = "query"
	operationClose bindings.OperationKind = "close"
)

// Metadata of a request.
const (
	keySQL    = "sql"
	keyParams = "params"
	keyTypes  = "paramTypes"
	keyToken  = "txn-token" // in any case
)

// request is what a caller asks for.
type request struct {
	operation bindings.OperationKind
	sql       string
	params    params
	tokens    []string
}

// readRequest reads a request, with the errors of Dapr's binding where that has them. It gives as much of it as there is.
func readRequest(in *bindings.InvokeRequest) (request, error) {
	r := request{operation: in.Operation}
	if in.Metadata == nil {
		return r, errors.New("metadata required")
	}
	for name, value := range in.Metadata {
		if strings.EqualFold(name, keyToken) {
			r.tokens = append(r.tokens, value)
		}
	}
	if r.sql = in.Metadata[keySQL]; r.sql == "" {
		return r, fmt.Errorf("required metadata not set: %s", keySQL)
	}
	var err error
	if r.params, err = parseParams(in.Metadata[keyParams], in.Metadata[keyTypes]); err != nil {
		return r, err
	}
	if r.operation != operationExec && r.operation != operationQuery {
		return r, fmt.Errorf("invalid operation type: %.40s. Expected %s, %s, or %s", r.operation, operationExec, operationQuery, operationClose)
	}
	return r, nil
}
