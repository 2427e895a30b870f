// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/dapr/durabletask-go/workflow"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// RetryPolicy says how often a call is tried again that got no answer, and after which time. Each attempt is a step of
// its own, which continues the one before. An attempt is made only when the server has said that it never got the call of
// the one before. Handle is not asked.
type RetryPolicy = workflow.RetryPolicy

// step is a step that is done in an activity, with its retries. It is a workflow.Task.
type step struct {
	ctx      *Context
	activity string
	order    order
	task     workflow.Task
	policy   *RetryPolicy
	// idempotent lets a call be made again of which it is not known what came.
	idempotent bool
	begun      time.Time
	attempt    int
	repeated   bool
	// question is what was asked where nothing was decided.
	question []Link

	done bool
	out  *outcome
	err  error
}

// do schedules a step.
func (c *Context) do(activity string, o order, policy *RetryPolicy) *step {
	s := &step{ctx: c, activity: activity, order: o, policy: policy, begun: c.CurrentTimeUTC()}
	s.schedule()
	c.open = append(c.open, s)
	return s
}

// failed is a step that could not be scheduled.
func (c *Context) failed(err error) *step {
	return &step{ctx: c, done: true, err: fmt.Errorf("custody: %w", err)}
}

// usualOrder is what an order has beside its arguments, in bytes.
const usualOrder = 640

func (s *step) schedule() {
	s.order.Held = s.ctx.held()
	if s.ctx.newest != nil {
		s.order.After = s.ctx.newest.Name()
	}
	input := workflow.WithActivityInput(&s.order)
	if raw, err := s.order.appendJSON(make([]byte, 0, len(s.order.Arguments)+usualOrder)); err == nil {
		input = workflow.WithRawActivityInput(wrapperspb.String(string(raw)))
	}
	s.task = s.ctx.CallActivity(s.activity, input)
}

// Await blocks the workflow until the step is done and saves its result in v, which may be nil. Awaiting again gives the
// same. The errors are those of this package.
func (s *step) Await(v any) error {
	s.settle()
	if s.err != nil || v == nil {
		return s.err
	}
	if s.order.Target == nil {
		return nil
	}
	if err := decodeResult(s.out.Result, s.out.tool, v); err != nil {
		return fmt.Errorf("custody: the result of %s: %w", s.order.Target.Tool, err)
	}
	return nil
}

// TaskExecutionId is Dapr's ID of the execution of the last attempt.
func (s *step) TaskExecutionId() string {
	if s.task == nil {
		return ""
	}
	return s.task.TaskExecutionId()
}

// settle awaits the step with its retries, and joins what was signed into the chain.
func (s *step) settle() {
	if s.done {
		return
	}
	for {
		if s.out, s.err = s.ctx.await(s.task); s.err != nil {
			s.err = fmt.Errorf("custody: activity %s: %w", s.activity, s.err)
			break
		}
		s.join()
		if s.err = s.out.err(); s.err == nil || !s.again() {
			break
		}
	}
	s.done = true
	if s.out != nil && s.out.Pending != "" && !s.order.Look {
		s.unsettled()
	}
	s.ctx.open = slices.DeleteFunc(s.ctx.open, func(a awaitable) bool { return a == awaitable(s) })
}

// unsettled has the call looked at once more when the workflow ends.
func (s *step) unsettled() {
	s.ctx.unsettled = append(s.ctx.unsettled, order{Target: s.order.Target, Pending: s.out.Pending, Look: true})
}

// join puts what the attempt has signed into the chain. Of one that asked and was to be asked again that is nothing yet:
// the next attempt has the same question.
func (s *step) join() {
	if s.out.ChainApp != "" {
		s.ctx.chain.App, s.ctx.chain.Started = s.out.ChainApp, s.out.Started
	}
	links := s.out.Links
	if len(links) == 0 {
		links = s.question
	}
	s.question = nil
	if s.out.State == stateLinks && !s.order.All {
		s.question = links
		return
	}
	var heads []string
	if len(links) > 0 {
		heads = []string{links[len(links)-1].Digest}
	}
	prev := s.order.Prev
	if s.out.Found { // It continues the question of an earlier attempt, and nothing of this one.
		prev = []string{s.order.Pending}
	}
	s.ctx.advance(prev, heads, links)
}

// again schedules the next attempt, if there is to be one.
func (s *step) again() bool {
	if s.order.Target == nil || s.order.Look {
		return false
	}
	switch s.out.State {
	case stateLinks:
		if s.order.All {
			return false
		}
		s.order.Links, s.order.All, s.order.As = newest(s.ctx.links), true, s.out.Task
		s.schedule()
		return true
	case stateSession, stateUnknown, stateSettled:
		if s.out.State != stateSession && !s.idempotent || s.repeated && !s.out.Found {
			return false
		}
		if s.out.Pending != "" {
			s.unsettled()
		}
		s.repeated = true
		s.order.Repeat = s.out.State != stateSession
	case stateUnreachable:
		if !s.wait() {
			return false
		}
		s.attempt++
	default:
		return false
	}
	s.order.Pending, s.order.As = s.out.Pending, 0
	if s.err = s.ctx.narrow(); s.err != nil {
		return false
	}
	s.order.Prev = s.ctx.Heads()
	s.schedule()
	return true
}

// wait lets the time pass that the policy has between two attempts. It is false if there is to be no other.
func (s *step) wait() bool {
	p := s.policy
	if p == nil || s.attempt+1 >= p.MaxAttempts {
		return false
	}
	if p.RetryTimeout > 0 && s.ctx.CurrentTimeUTC().After(s.begun.Add(p.RetryTimeout)) {
		return false
	}
	delay := float64(p.InitialRetryInterval) * math.Pow(max(p.BackoffCoefficient, 1), float64(s.attempt))
	if p.MaxRetryInterval > 0 {
		delay = min(delay, float64(p.MaxRetryInterval))
	}
	timer := s.ctx.CreateTimer(time.Duration(min(delay, math.MaxInt64/2)), workflow.WithTimerName("custody.retry"))
	return timer.Await(nil) == nil
}
