// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/workflow"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/workflows/custody"
)

type text struct {
	Tool string `json:"tool,omitempty"`
	Text string `json:"text"`
}

func echo(ctx *custody.Context, tool, say string, options ...custody.CallOption) (text, error) {
	var out text
	err := custody.CallTool(ctx, "payments", tool, text{Text: say}, options...).Await(&out)
	return out, err
}

func TestLinear(t *testing.T) {
	w := newWorld(t, func(w *custody.Worker) {
		require.NoError(t, w.AddWorkflow("refund", func(ctx *custody.Context) (any, error) {
			var order string
			if err := ctx.GetInput(&order); err != nil {
				return nil, err
			}
			if err := custody.Attest(ctx, "received", map[string]any{"order": order, "amount": 12.50}).Await(nil); err != nil {
				return nil, err
			}
			if _, err := echo(ctx, "echo", order, custody.WithStep("fraud-check")); err != nil {
				return nil, err
			}
			var whole mcp.CallToolResult
			if err := custody.CallTool(ctx, "payments", "charge", text{Text: order}).Await(&whole); err != nil {
				return nil, err
			}
			if len(whole.Content) != 1 || len(ctx.Heads()) != 1 || len(ctx.Links()) != 5 {
				return nil, fmt.Errorf("%d contents, %d heads, %d links", len(whole.Content), len(ctx.Heads()), len(ctx.Links()))
			}
			return echo(ctx, "echo", order+" done")
		}))
	})
	var out text
	w.run("refund", "r1", "order-7", &out)
	require.Equal(t, text{Tool: "echo", Text: "order-7 done"}, out)
	found := w.verified("r1", w.sidecar.signed())
	require.Equal(t, []string{"received stated", "fraud-check ok", "charge ok", "echo ok"}, steps(found))
	require.Len(t, found.Links, 8)
	require.Equal(t, 2, w.sidecar.calls("echo"))
}

func TestFanOutJoins(t *testing.T) {
	const wide = 20
	w := newWorld(t, func(w *custody.Worker) {
		require.NoError(t, w.AddWorkflow("wide", func(ctx *custody.Context) (any, error) {
			if err := custody.Attest(ctx, "begin", nil).Await(nil); err != nil {
				return nil, err
			}
			begin := ctx.Heads()
			var tasks []workflow.Task
			for i := range wide {
				tasks = append(tasks, custody.CallTool(ctx, "payments", "echo", text{Text: fmt.Sprint(i)}, custody.WithStep(fmt.Sprintf("part-%02d", i))))
			}
			if len(ctx.Heads()) != 1 || ctx.Heads()[0] != begin[0] {
				return nil, errors.New("scheduling changed the heads")
			}
			for i := range tasks { // in another order than they were scheduled
				var out text
				if err := tasks[len(tasks)-1-i].Await(&out); err != nil {
					return nil, err
				}
			}
			if len(ctx.Heads()) != wide {
				return nil, fmt.Errorf("%d heads", len(ctx.Heads()))
			}
			_, err := echo(ctx, "charge", "all")
			// Nobody awaits this one, which must not stand beside the end.
			custody.Attest(ctx, "left open", 1)
			return nil, err
		}))
	})
	w.run("wide", "w1", nil, nil)
	found := w.verified("w1", w.sidecar.signed())
	require.Len(t, found.Steps, 1+wide+1+1, steps(found)) // the join and the end are no steps
	require.Equal(t, wide, w.sidecar.calls("echo"))
}

func TestDeniedAndFailedCallsAreInTheChain(t *testing.T) {
	w := newWorld(t, func(w *custody.Worker) {
		require.NoError(t, w.AddWorkflow("refund", func(ctx *custody.Context) (any, error) {
			_, err := echo(ctx, "charge", "x")
			var denied *custody.DeniedError
			if !errors.As(err, &denied) || denied.Reference != "ref-1" || denied.Link.Digest != ctx.Heads()[0] {
				return nil, fmt.Errorf("not denied as it should be: %w", err)
			}
			_, err = echo(ctx, "fail", "x")
			var failed *custody.ToolError
			if !errors.As(err, &failed) || failed.Status != "toolError" || failed.Message != `the tool failed on "x"` {
				return nil, fmt.Errorf("not failed as it should be: %w", err)
			}
			return nil, errors.New("the order is not known")
		}))
	})
	w.sidecar.deny["charge"] = true
	w.start("refund", "r1", nil)
	meta := w.end("r1")
	require.Equal(t, "FAILED", meta.String())
	require.Equal(t, "the order is not known", meta.FailureDetails.ErrorMessage)
	require.Equal(t, []string{"charge denied", "fail toolError"}, steps(w.verified("r1", w.sidecar.signed())))
	require.Zero(t, w.sidecar.calls("charge"))
}

// What a step gives where the way to the server, or back, breaks.
func TestTrouble(t *testing.T) {
	var (
		settled *custody.SettledError
		unknown *custody.UnknownError
	)
	retry := custody.WithRetry(&custody.RetryPolicy{MaxAttempts: 3, InitialRetryInterval: time.Millisecond})
	first := func(what trouble) func(string, int) trouble {
		return func(_ string, attempt int) trouble {
			if attempt == 1 {
				return what
			}
			return none
		}
	}
	always := func(what trouble) func(string, int) trouble { return func(string, int) trouble { return what } }
	for _, c := range []struct {
		name    string
		tool    string // empty for charge
		trouble func(step string, attempt int) trouble
		options []custody.CallOption
		want    any // an error to be one of, or to match
		calls   int
		steps   []string
	}{
		{name: "the way back breaks", trouble: first(lost), want: &settled, calls: 1, steps: []string{"charge ok"}},
		{name: "the way back breaks, retried", trouble: first(lost), options: []custody.CallOption{retry}, want: &settled, calls: 1, steps: []string{"charge ok"}},
		{
			name: "the way back breaks, idempotent", trouble: first(lost), options: []custody.CallOption{custody.Idempotent()},
			calls: 2, steps: []string{"charge ok", "charge ok"},
		},
		{name: "the way back of a failure breaks", tool: "fail", trouble: first(lost), want: &settled, calls: 1, steps: []string{"fail toolError"}},
		{name: "the result is cut off", trouble: first(cut), want: &settled, calls: 1, steps: []string{"charge ok"}},
		{name: "it does not arrive", trouble: first(vanished), want: custody.ErrUnreachable, steps: []string{"charge unknown"}},
		{
			name: "it does not arrive, retried", trouble: first(vanished), options: []custody.CallOption{retry},
			calls: 1, steps: []string{"charge unknown", "charge ok"},
		},
		{
			name: "the guard is closed, retried", trouble: always(closed), options: []custody.CallOption{retry},
			want: custody.ErrUnreachable, steps: []string{"charge unknown", "charge unknown", "charge unknown"},
		},
		{name: "the own sidecar breaks", trouble: first(broken), calls: 1, steps: []string{"charge ok"}},
		{name: "nobody knows", trouble: first(silent), want: &unknown, steps: []string{"charge unknown"}},
		{name: "nobody knows, retried", trouble: first(silent), options: []custody.CallOption{retry}, want: &unknown, steps: []string{"charge unknown"}},
		{
			name: "nobody knows, idempotent", trouble: first(silent), options: []custody.CallOption{custody.Idempotent()},
			calls: 1, steps: []string{"charge unknown", "charge ok"},
		},
		{
			name: "nobody ever knows, idempotent", trouble: always(silent), options: []custody.CallOption{custody.Idempotent()},
			want: &unknown, steps: []string{"charge unknown", "charge unknown"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			tool := cmp.Or(c.tool, "charge")
			var got error
			w := newWorld(t, func(w *custody.Worker) {
				require.NoError(t, w.AddWorkflow("refund", func(ctx *custody.Context) (any, error) {
					_, got = echo(ctx, tool, "x", c.options...)
					return nil, nil
				}))
			})
			w.sidecar.trouble = c.trouble
			w.run("refund", "r1", nil, nil)
			switch want := c.want.(type) {
			case nil:
				require.NoError(t, got)
			case error:
				require.ErrorIs(t, got, want)
			default:
				require.ErrorAs(t, got, want)
			}
			require.Equal(t, c.calls, w.sidecar.calls(tool))
			require.Equal(t, c.steps, steps(w.verified("r1", w.sidecar.signed())))
		})
	}
}

// A question that never came back is no link that the workflow knows, and the call may have been made.
func TestOwnSidecarStaysBroken(t *testing.T) {
	var got error
	w := newWorld(t, func(w *custody.Worker) {
		require.NoError(t, w.AddWorkflow("refund", func(ctx *custody.Context) (any, error) {
			retry := custody.WithRetry(&custody.RetryPolicy{MaxAttempts: 3, InitialRetryInterval: time.Millisecond})
			_, got = echo(ctx, "charge", "x", retry)
			return nil, nil
		}))
	})
	w.sidecar.trouble = func(string, int) trouble { return broken }
	w.run("refund", "r1", nil, nil)
	var unknown *custody.UnknownError
	require.ErrorAs(t, got, &unknown)
	require.Empty(t, unknown.Question.Digest)
}

func TestWithoutMCPCallerNothingIsCalled(t *testing.T) {
	w := newWorld(t, func(w *custody.Worker) {
		require.NoError(t, w.AddWorkflow("refund", func(ctx *custody.Context) (any, error) {
			_, err := echo(ctx, "charge", "x")
			return nil, err
		}))
	})
	w.sidecar.noCaller = true
	w.start("refund", "r1", nil)
	meta := w.end("r1")
	require.Equal(t, "FAILED", meta.String())
	require.Contains(t, meta.FailureDetails.ErrorMessage, custody.ErrNoCaller.Error())
	require.Zero(t, w.sidecar.calls("charge"))
}

func TestServerThatWantsTheChain(t *testing.T) {
	for _, c := range []struct {
		name   string
		forget bool
		steps  []string
	}{
		{name: "the worker knows the links", steps: []string{"fraud-check stated", "charge ok", "more stated", "charge ok"}},
		{
			name: "the workflow gives the links", forget: true,
			steps: []string{"fraud-check stated", "charge ok", "more stated", "charge ok"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(worker *custody.Worker) {
				require.NoError(t, worker.AddWorkflow("refund", func(ctx *custody.Context) (any, error) {
					if err := custody.Attest(ctx, "fraud-check", "good").Await(nil); err != nil {
						return nil, err
					}
					if _, err := echo(ctx, "charge", "x"); err != nil {
						return nil, err
					}
					if err := custody.Attest(ctx, "more", "good").Await(nil); err != nil {
						return nil, err
					}
					return echo(ctx, "charge", "y")
				}))
			})
			w.sidecar.wants = true
			w.sidecar.trouble = func(_ string, attempt int) trouble {
				if c.forget && attempt == 1 {
					w.worker.Forget()
				}
				return none
			}
			w.run("refund", "r1", nil, nil)
			require.Equal(t, c.steps, steps(w.verified("r1", w.sidecar.signed())))
			require.Equal(t, 2, w.sidecar.calls("charge"))
			require.Equal(t, 2, w.sidecar.shown, "the second call is shown what is new before it is made")
		})
	}
}

// A call of which nobody knew is settled by the receipt of the server, if there is one by the end.
func TestUnknownIsSettledAtTheEnd(t *testing.T) {
	for _, options := range [][]custody.CallOption{nil, {custody.Idempotent()}} {
		w := newWorld(t, func(w *custody.Worker) {
			require.NoError(t, w.AddWorkflow("refund", func(ctx *custody.Context) (any, error) {
				_, err := echo(ctx, "charge", "x", options...)
				var unknown *custody.UnknownError
				if options == nil && !errors.As(err, &unknown) {
					return nil, fmt.Errorf("not unknown: %w", err)
				}
				return nil, custody.Attest(ctx, "meanwhile", "the server comes back").Await(nil)
			}))
		})
		w.sidecar.trouble = func(_ string, attempt int) trouble {
			if attempt == 1 {
				return silent
			}
			return none
		}
		w.run("refund", "r1", nil, nil)
		want := []string{"charge incomplete", "charge ok", "meanwhile stated"}
		if options == nil {
			want = []string{"charge incomplete", "meanwhile stated"}
		}
		require.ElementsMatch(t, want, steps(w.verified("r1", w.sidecar.signed())))
	}
}

func TestServersOfAllKinds(t *testing.T) {
	for _, c := range []struct {
		name    string
		options testkit.MCPOptions
		way     trouble
	}{
		{name: "stateless, events", options: testkit.MCPOptions{}},
		{name: "stateful, JSON", options: testkit.MCPOptions{Stateful: true, JSON: true}},
		{name: "stateful, events", options: testkit.MCPOptions{Stateful: true}},
		{name: "the answer is a comment among events", options: testkit.MCPOptions{JSON: true}, way: streamed},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(w *custody.Worker) {
				require.NoError(t, w.AddWorkflow("refund", func(ctx *custody.Context) (any, error) {
					if _, err := echo(ctx, "echo", "x"); err != nil {
						return nil, err
					}
					return echo(ctx, "charge", "y")
				}))
			})
			w.sidecar.serves(c.options)
			w.sidecar.trouble = func(string, int) trouble { return c.way }
			var out text
			w.run("refund", "r1", nil, &out)
			require.Equal(t, text{Tool: "charge", Text: "y"}, out)
			require.Equal(t, []string{"echo ok", "charge ok"}, steps(w.verified("r1", w.sidecar.signed())))
		})
	}
}

// A session that the server has forgotten is opened again, and the call made as another step.
func TestSessionIsLost(t *testing.T) {
	w := newWorld(t, func(w *custody.Worker) {
		require.NoError(t, w.AddWorkflow("refund", func(ctx *custody.Context) (any, error) { return echo(ctx, "charge", "x") }))
	})
	w.sidecar.serves(testkit.MCPOptions{Stateful: true, JSON: true})
	w.run("refund", "r1", nil, nil)
	first := len(w.sidecar.signed())
	w.sidecar.serves(testkit.MCPOptions{Stateful: true, JSON: true})
	w.run("refund", "r2", nil, nil)
	require.Equal(t, []string{"charge httpError", "charge ok"}, steps(w.verified("r2", w.sidecar.signed()[first:])))
}

func TestContinueAsNew(t *testing.T) {
	type turn struct {
		N     int    `json:"n"`
		Chain string `json:"chain"`
	}
	w := newWorld(t, func(w *custody.Worker) {
		require.NoError(t, w.AddWorkflow("loop", func(ctx *custody.Context) (any, error) {
			var in turn
			if err := ctx.GetInput(&in); err != nil {
				return nil, err
			}
			if _, err := echo(ctx, "echo", fmt.Sprint(in.N)); err != nil {
				return nil, err
			}
			_, _, started := ctx.Chain()
			if in.Chain != "" && in.Chain != started.String() {
				return nil, errors.New("another chain")
			}
			if in.N < 2 {
				custody.Attest(ctx, "left open", in.N)
				ctx.ContinueAsNew(turn{N: in.N + 1, Chain: started.String()})
				return nil, nil
			}
			return len(ctx.Links()), nil
		}))
	})
	var links int
	w.run("loop", "l1", turn{}, &links)
	require.Equal(t, 3+1+1+3+1+1+2, links, "each generation but the last ends with a link, and each but the first begins with one")
	found := w.verified("l1", w.sidecar.signed())
	require.Equal(t, []string{"echo ok", "left open stated", "echo ok", "left open stated", "echo ok"}, steps(found))
	require.EqualValues(t, 2, found.Links[len(found.Links)-1].Receipt.Workflow.Generation)
}

func TestChildGoesOnWithTheChain(t *testing.T) {
	w := newWorld(t, func(w *custody.Worker) {
		require.NoError(t, w.AddWorkflow("parent", func(ctx *custody.Context) (any, error) {
			good := custody.CallChild(ctx, "child", text{Text: "good"}, custody.WithChildInstanceID("c-good"))
			bad := custody.CallChild(ctx, "child", text{Text: "bad"}, custody.WithChildInstanceID("c-bad"))
			var failed *custody.ChildError
			if err := bad.Await(nil); !errors.As(err, &failed) || failed.Message != "bad order" {
				return nil, fmt.Errorf("not failed as it should be: %w", err)
			}
			var out text
			if err := good.Await(&out); err != nil {
				return nil, err
			}
			if len(ctx.Heads()) != 2 {
				return nil, fmt.Errorf("%d heads", len(ctx.Heads()))
			}
			_, err := echo(ctx, "charge", out.Text)
			return len(ctx.Links()), err
		}))
		require.NoError(t, w.AddWorkflow("child", func(ctx *custody.Context) (any, error) {
			var in text
			if err := ctx.GetInput(&in); err != nil {
				return nil, err
			}
			if len(ctx.Links()) == 1 { // the first generation
				if err := custody.Attest(ctx, "looked at "+in.Text, in).Await(nil); err != nil {
					return nil, err
				}
				ctx.ContinueAsNew(in)
				return nil, nil
			}
			if in.Text == "bad" {
				return nil, errors.New("bad order")
			}
			return echo(ctx, "echo", in.Text)
		}))
	})
	var links int
	w.run("parent", "p1", nil, &links)
	require.Equal(t, 1+3+5+2, links)
	found := w.verified("p1", w.sidecar.signed())
	require.ElementsMatch(t, []string{
		"custody.child stated", "looked at good stated", "looked at bad stated", "echo ok", "charge ok",
	}, steps(found))
	require.Equal(t, "COMPLETED", w.end("c-good").String())
	require.Equal(t, "FAILED", w.end("c-bad").String())
}

// Who can start workflows cannot have one go on with the chain of another instance.
func TestChainIsNotTakenFromAnyInput(t *testing.T) {
	const link = `"heads":["sha256:0000000000000000000000000000000000000000000000000000000000000001"]`
	for _, c := range []struct{ name, input, want string }{
		{
			name: "a child whose parent Dapr does not vouch for", want: "whose history Dapr has not passed on",
			input: `{"custody.dev/chain":{"chain":{"app":"spiffe://custody.local/ns/default/refunds","instance":"p","started":"2026-01-01T00:00:00Z"},"child":true,"parent":"p",` + link + `}}`,
		},
		{
			name: "a later generation of a child", want: "whose history Dapr has not passed on",
			input: `{"custody.dev/chain":{"chain":{"app":"spiffe://custody.local/ns/default/refunds","instance":"p","started":"2026-01-01T00:00:00Z"},"child":true,"parent":"p","generation":1,` + link + `}}`,
		},
		{
			name: "the first generation", want: "that begins its own",
			input: `{"custody.dev/chain":{"chain":{"instance":"r1","started":"2026-01-01T00:00:00Z"},` + link + `}}`,
		},
		{
			name: "a generation of another instance", want: `the chain of instance "p", and this is`,
			input: `{"custody.dev/chain":{"chain":{"instance":"p","started":"2026-01-01T00:00:00Z"},"generation":1,` + link + `}}`,
		},
		{
			name: "a later generation that nobody signed", want: "without what the one before signed last",
			input: `{"custody.dev/chain":{"chain":{"app":"spiffe://custody.local/ns/default/refunds","instance":"r1","started":"2026-01-01T00:00:00Z"},"generation":1,` + link + `}}`,
		},
		{name: "no name", want: "a chain without a name", input: `{"custody.dev/chain":{` + link + `}}`},
		{name: "no chain at all", want: "that cannot be read", input: `{"custody.dev/chain":7}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(w *custody.Worker) {
				w.Unpropagated(false)
				require.NoError(t, w.AddWorkflow("refund", func(ctx *custody.Context) (any, error) { return echo(ctx, "charge", "x") }))
			})
			w.start("refund", "r1", json.RawMessage(c.input))
			meta := w.end("r1")
			require.Equal(t, "FAILED", meta.String())
			require.Contains(t, meta.FailureDetails.ErrorMessage, c.want)
			require.Zero(t, w.sidecar.calls("charge"))
		})
	}
}

func TestApproval(t *testing.T) {
	w := newWorld(t, func(w *custody.Worker) {
		require.NoError(t, w.AddWorkflow("refund", func(ctx *custody.Context) (any, error) {
			ctx.SetCustomStatus("working")
			var approved custody.Approved
			if err := custody.Approval(ctx, "manager", map[string]int{"amount": 12}, -1).Await(&approved); err != nil {
				return nil, err
			}
			_, err := echo(ctx, "charge", "x")
			return approved.By, err
		}))
	})
	w.start("refund", "other", nil)
	w.start("refund", "r1", nil)
	raise := func(id string, payload any) {
		require.NoError(t, w.client.RaiseEvent(t.Context(), id, "custody.approval.manager", workflow.WithEventPayload(payload)))
	}
	elsewhere := w.pending("other")
	other, err := custody.Approve(t.Context(), w.options, elsewhere)
	require.NoError(t, err)
	ask := w.pending("r1")
	require.JSONEq(t, `{"amount":12}`, string(ask.Statement))
	good, err := custody.Approve(t.Context(), w.options, ask)
	require.NoError(t, err)
	richer := ask
	richer.Statement = json.RawMessage(`{"amount":1200}`)

	raise("r1", other)                       // of another instance
	raise("r1", "yes")                       // no link at all
	raise("r1", w.forged(t, "refunds", ask)) // by the app that asks
	raise("r1", w.forged(t, "boss", richer)) // of another statement
	elsewhere.Prev = ask.Prev
	raise("r1", w.forged(t, "boss", elsewhere)) // of another instance, after what was asked here
	raise("r1", w.foreign(t, good))             // with a signature that does not fit
	w.refused("r1", 6)
	raise("r1", good)
	var by string
	meta := w.end("r1")
	require.Equal(t, "COMPLETED", meta.String(), meta.FailureDetails)
	require.NoError(t, json.Unmarshal([]byte(meta.Output.GetValue()), &by))
	require.Equal(t, "spiffe://custody.local/ns/default/manager", by)
	require.Equal(t, "working", meta.CustomStatus.GetValue())
	raise("other", other)
	require.Equal(t, "COMPLETED", w.end("other").String())
}

func TestApprovalInTime(t *testing.T) {
	w := newWorld(t, func(w *custody.Worker) {
		require.NoError(t, w.AddWorkflow("refund", func(ctx *custody.Context) (any, error) {
			err := custody.Approval(ctx, "manager", 1, 300*time.Millisecond, custody.ApprovedBy("spiffe://custody.local/ns/default/boss")).Await(nil)
			if !errors.Is(err, custody.ErrTimeout) {
				return nil, fmt.Errorf("not late: %w", err)
			}
			return nil, nil
		}))
	})
	w.start("refund", "r1", nil)
	payload, err := custody.Approve(t.Context(), w.options, w.pending("r1")) // by the manager, who is not the boss
	require.NoError(t, err)
	require.NoError(t, w.client.RaiseEvent(t.Context(), "r1", "custody.approval.manager", workflow.WithEventPayload(payload)))
	meta := w.end("r1")
	require.Equal(t, "COMPLETED", meta.String(), meta.FailureDetails)
}

// A chain begins when Dapr took the workflow on, and a step waits until Dapr tells that.
func TestChainBeginsWhenDaprTookItOn(t *testing.T) {
	var asked atomic.Int32
	w := newWorld(t, func(w *custody.Worker) {
		require.NoError(t, w.AddWorkflow("refund", func(ctx *custody.Context) (any, error) {
			if _, _, started := ctx.Chain(); !started.IsZero() {
				return nil, errors.New("the start is known before the first link")
			}
			first, second := custody.Attest(ctx, "first", 1), custody.CallTool(ctx, "payments", "echo", text{Text: "x"})
			if err := errors.Join(first.Await(nil), second.Await(nil)); err != nil {
				return nil, err
			}
			_, _, started := ctx.Chain()
			return started, custody.Attest(ctx, "third", 3).Await(nil)
		}))
	})
	told := w.sidecar.created
	w.sidecar.created = func(instance string) (time.Time, bool) {
		if asked.Add(1) <= 3 {
			return time.Time{}, false // as while Dapr has not saved
		}
		return told(instance)
	}
	var started time.Time
	w.run("refund", "r1", nil, &started)
	require.True(t, w.end("r1").CreatedAt.AsTime().Equal(started))
	require.EqualValues(t, 5, asked.Load(), "only the first two ask, until each is told")
	require.True(t, w.verified("r1", w.sidecar.signed()).Chain.Started.Equal(started))
}

// A workflow that signs nothing until it continues as new still has one chain.
func TestContinueAsNewBeforeTheFirstLink(t *testing.T) {
	w := newWorld(t, func(w *custody.Worker) {
		require.NoError(t, w.AddWorkflow("loop", func(ctx *custody.Context) (any, error) {
			var n int
			if err := ctx.GetInput(&n); err != nil {
				return nil, err
			}
			if n == 0 {
				ctx.ContinueAsNew(1)
				return nil, nil
			}
			return echo(ctx, "echo", "x")
		}))
	})
	w.run("loop", "l1", 0, nil)
	require.Equal(t, []string{"echo ok"}, steps(w.verified("l1", w.sidecar.signed())))
}

// Where Dapr does not tell when a workflow began, nothing is asked in a chain of another name.
func TestChainWithoutAStart(t *testing.T) {
	w := newWorld(t, func(w *custody.Worker) {
		require.NoError(t, w.AddWorkflow("refund", func(ctx *custody.Context) (any, error) { return echo(ctx, "charge", "x") }))
	})
	w.sidecar.created = nil
	w.start("refund", "r1", nil)
	meta := w.end("r1")
	require.Equal(t, "FAILED", meta.String())
	require.Contains(t, meta.FailureDetails.ErrorMessage, `when instance "r1" began: status 404`)
	require.Zero(t, w.sidecar.calls("charge"))
	require.Empty(t, w.sidecar.signed())
}
