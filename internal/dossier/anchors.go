// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dossier

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/dapr-custody/custody/internal/history"
	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/receipt"
)

// The kinds of action of an anchor: a signature of a history was written, or deleted.
const (
	KindHistory        = "custody.history"
	KindHistoryRemoved = "custody.history-removed"
)

var errNoSignature = errors.New("it names no signature of an instance")

// anchored names an instance as anchors do.
type anchored struct{ app, instance string }

// vouched is an anchor with the namespace of its signer; "" for an intent, which nobody signed.
type vouched struct {
	history.Anchor
	namespace string
}

// anchorsOf gives those of one history. A sidecar of another namespace has nothing to say of it.
func anchorsOf(all map[anchored][]vouched, rows history.Rows) []history.Anchor {
	own := []history.Anchor{}
	for _, a := range all[anchored{rows.App, rows.Instance}] {
		if a.namespace == "" || a.namespace == rows.Namespace {
			own = append(own, a.Anchor)
		}
	}
	return own
}

// anchors verifies the anchors of the dossier, and sorts them by instance and time.
func (v *verifier) anchors() map[anchored][]vouched {
	all := map[anchored][]vouched{}
	verifier := receipt.NewVerifier(v.o.Bundles)
	for i, a := range v.d.Anchors {
		of, anchor, err := readAnchor(a, verifier)
		if err != nil {
			v.fault(&Fault{Kind: AnchorInvalid, Instance: of.instance}, "anchor %d of the dossier: %s", i+1, err)
			continue
		}
		all[of] = append(all[of], anchor)
	}
	for of := range all {
		// Dapr signs in the order of the rows, so that of one moment the first row is first, and begins no run behind the others.
		slices.SortStableFunc(all[of], func(a, b vouched) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Index, b.Index)) })
	}
	return all
}

func readAnchor(a Anchor, verifier *receipt.Verifier) (anchored, vouched, error) {
	if a.Envelope == nil {
		intent, err := receipt.DecodeIntent(a.Intent)
		if err != nil {
			return anchored{}, vouched{}, err
		}
		of, anchor, err := anchorOf(intent.Action, intent.Workflow, intent.RequestDigest)
		anchor.At, anchor.Tentative = intent.Decided, true
		return of, vouched{Anchor: anchor}, err
	}
	e, err := receipt.DecodeEnvelope(a.Envelope)
	if err != nil {
		return anchored{}, vouched{}, err
	}
	got, err := verifier.Verify(e, receipt.VerifyOptions{})
	if err != nil {
		return anchored{}, vouched{}, err
	}
	r := got.Receipt
	of, anchor, err := anchorOf(r.Action, r.Workflow, r.RequestDigest)
	if err != nil {
		return of, vouched{}, err
	}
	anchor.At, anchor.TrustDomain = r.Times.Settled, got.Signer.TrustDomain()
	namespace, app, ok := identity.App(got.Signer)
	switch {
	case r.Outcome.Status != receipt.StatusAnchored:
		err = fmt.Errorf("its status is %q", r.Outcome.Status)
	case !ok || app != of.app:
		err = fmt.Errorf("it is about app %s, and signed by %s", of.app, got.Signer)
	}
	return of, vouched{Anchor: anchor, namespace: namespace}, err
}

func anchorOf(action receipt.Action, w *receipt.Workflow, record receipt.Digest) (anchored, history.Anchor, error) {
	if w == nil || w.Task == 0 || action.Name != w.Instance {
		return anchored{}, history.Anchor{}, errNoSignature
	}
	of := anchored{w.App, w.Instance}
	anchor := history.Anchor{Index: int(w.Task - 1), Digest: record}
	switch action.Kind {
	case KindHistory:
	case KindHistoryRemoved:
		anchor.Removed = true
	default:
		return of, anchor, fmt.Errorf("its kind is %q", action.Kind)
	}
	return of, anchor, nil
}
