// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

// Unpropagated lets children start on a backend that passes no history on, and gives them the links in their input.
func (w *Worker) Unpropagated() { w.unpropagated = true }

// Forget makes the worker forget all links, as one that has just started.
func (w *Worker) Forget() {
	w.past.mu.Lock()
	defer w.past.mu.Unlock()
	for w.past.recent.Len() > 0 {
		w.past.drop(w.past.recent.Back())
	}
}
