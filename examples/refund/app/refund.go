// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dapr-custody/custody/workflows/custody"
)

// The names of the workflows, of the steps that the policy asks for, and of the tool.
const (
	refundWorkflow = "refund"
	fraudWorkflow  = "check-refund"
	fraudStep      = "fraud-check"
	approvalStep   = "refund-approval"
	refundTool     = "refund_payment"
	approvalWait   = 10 * time.Minute
)

// payment is what is to be paid back. The tool takes exactly this, so that the
// fraud service and the approver speak of what will be done.
type payment struct {
	Order  int    `json:"order"`
	Amount int    `json:"amount"` // in cents
	Reason string `json:"reason"`
}

// request is the input of the workflow.
type request struct {
	payment

	// ATTACK: Skip leaves out "fraud" or "approval", and Grow pays that much more
	// than was approved: what a worker does that was taken over. A workflow of
	// your own has neither.
	Skip []string `json:"skip,omitempty"`
	Grow int      `json:"grow,omitempty"`
}

// result is the output of the workflow.
type result struct {
	Paid    bool   `json:"paid"`
	Receipt string `json:"receipt,omitempty"`
	Refused string `json:"refused,omitempty"`
}

// refund is the workflow: check, approval, payment.
func refund(ctx *custody.Context) (any, error) {
	var in request
	if err := ctx.GetInput(&in); err != nil {
		return nil, err
	}
	if !in.skips("fraud") {
		if err := custody.CallChild(ctx, fraudWorkflow, in.payment, custody.WithChildApp("fraud")).Await(nil); err != nil {
			return nil, fmt.Errorf("fraud check: %w", err)
		}
	}
	if !in.skips("approval") {
		var approved custody.Approved
		if err := custody.Approval(ctx, approvalStep, in.payment, approvalWait).Await(&approved); err != nil {
			return nil, fmt.Errorf("approval: %w", err)
		}
	}
	pay := in.payment
	pay.Amount += in.Grow
	var done paid
	err := custody.CallTool(ctx, "payments", refundTool, pay).Await(&done)
	if denied := (*custody.DeniedError)(nil); errors.As(err, &denied) {
		return result{Refused: denied.Message}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("payment: %w", err)
	}
	return result{Paid: true, Receipt: done.Receipt}, nil
}

func (r *request) skips(step string) bool { return slices.Contains(r.Skip, step) }

// limit is what the fraud service lets pass, in cents.
const limit = 100_000

// check is the workflow of the fraud service. It states the payment only if
// there is nothing wrong with it.
func check(ctx *custody.Context) (any, error) {
	var in payment
	if err := ctx.GetInput(&in); err != nil {
		return nil, err
	}
	if in.Amount <= 0 || in.Amount > limit {
		return nil, fmt.Errorf("a refund of %d cents is not from 1 to %d", in.Amount, limit)
	}
	return nil, custody.Attest(ctx, fraudStep, in).Await(nil)
}
