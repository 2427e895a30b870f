// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"errors"
	"fmt"

	"github.com/dapr-custody/custody/internal/receipt"
)

var (
	// ErrNoCaller: the sidecar of the worker has no mcpcaller, so that nothing can be signed.
	ErrNoCaller = errors.New("the sidecar of this app has no mcpcaller in its httpPipeline")
	// ErrUnreachable: no answer was given, and as far as can be known the call has not reached the server. A call with a
	// RetryPolicy is tried again.
	ErrUnreachable = errors.New("no answer was given")
	// ErrRefused: a sidecar does not take the step as it was asked, for example because the same step was asked before
	// with other content, which is what a workflow that is not deterministic does.
	ErrRefused = errors.New("the step is refused")
	// ErrTimeout: nobody approved in time.
	ErrTimeout = errors.New("nobody approved in time")
)

// DeniedError: the policy of the server denied the call, and signed that.
type DeniedError struct {
	// Message is what the guard says, and Reference names its record.
	Message, Reference string
	// Link is the guard's receipt, which is part of the chain.
	Link Link
}

func (e *DeniedError) Error() string { return "custody: " + e.Message }

// SettledError: the call was made before, and what the tool gave was lost, for example because the worker crashed. It is
// not made again.
type SettledError struct {
	// Status is what came of it: "ok", "toolError" and so on, as outcome.status of a receipt.
	Status string
	// Link is the receipt, which is part of the chain.
	Link Link
}

func (e *SettledError) Error() string {
	return fmt.Sprintf("custody: the call was made before, with outcome %s; its result is lost", e.Status)
}

// UnknownError: the call was passed on, or may have been, and there is no receipt that says what came of it. It is not
// made again.
type UnknownError struct {
	Detail string
	// Question is what was asked, which is part of the chain; empty if that is lost too.
	Question Link
}

func (e *UnknownError) Error() string {
	return "custody: what came of the call is unknown: " + e.Detail
}

// ToolError: the server answered, and not with a result.
type ToolError struct {
	// Status is that of the receipt: "toolError", "rpcError", "httpError", "incomplete" or "withheld".
	Status  string
	Message string
	// Code is that of JSON-RPC, for "rpcError".
	Code int
	// Link is the receipt, which is part of the chain.
	Link Link
}

func (e *ToolError) Error() string { return fmt.Sprintf("custody: %s: %s", e.Status, e.Message) }

// err is the outcome as what Await gives.
func (o *outcome) err() error {
	var head Link
	if h := o.head(); h != nil {
		head = *h
	}
	switch o.State {
	case stateAnswered:
		switch o.Status {
		case receipt.StatusOK, receipt.StatusStated, receipt.StatusApproved:
			return nil
		case receipt.StatusDenied:
			return &DeniedError{Message: o.Detail, Reference: o.Reference, Link: head}
		}
		return &ToolError{Status: o.Status, Message: o.Detail, Code: o.Code, Link: head}
	case stateSettled:
		if o.Status == receipt.StatusDenied {
			return &DeniedError{Message: "denied before", Reference: o.Reference, Link: head}
		}
		return &SettledError{Status: o.Status, Link: head}
	case stateUnknown:
		return &UnknownError{Detail: o.Detail, Question: head}
	case stateNoCaller:
		return fmt.Errorf("custody: %w", ErrNoCaller)
	case stateUnreachable:
		return fmt.Errorf("custody: %w: %s", ErrUnreachable, o.Detail)
	}
	return fmt.Errorf("custody: %w: %s", ErrRefused, o.Detail)
}
