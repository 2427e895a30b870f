// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package custody makes the steps of a Dapr workflow in Go one chain of signed receipts (docs/chain.md): tool calls,
// statements, approvals and child workflows, each naming the steps that it continues.
//
// What it guarantees, for workflows that were added with Worker.AddWorkflow and whose app has mcpcaller in its sidecar:
// every step is done in an activity and has one name, made of chain, instance, generation and Dapr's number of the
// activity, so that doing it again after a crash asks for the same step and a guard does not let it through twice; a call
// whose answer was lost ends in a SettledError or an UnknownError, never in a second call, unless the workflow asked for
// that; what was signed is in the result of the activity, also for what was denied or failed; each step continues all that
// was awaited before it was scheduled; and the root of the chain ends with a custody.end that continues all of it, for
// which steps that nobody awaited are awaited.
//
// What it does not guarantee: it verifies no signature of a link by itself (the guard, the sidecar and `custody chain
// verify` do), except those of approvals and of what a later generation goes on from, by its own sidecar. Whoever may start
// workflows of an app can have a generation begun once more, as it was signed. A workflow that was made by Dapr's rerun
// does not continue the chain of the one it was made from. A question that the own sidecar signed and never gave back,
// because it broke off each time, is not known to the workflow; a verifier finds it beside the end of the chain. A child
// that is called twice by one instance ID in one chain asks for the same steps twice, and the second gets what the first
// was given.
//
// The workflow function must be deterministic, as always, and must use the functions of this package on the goroutine
// that it was called on.
package custody
