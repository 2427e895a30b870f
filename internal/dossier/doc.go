// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package dossier verifies all that is known of one chain together: Dapr's histories of the instances that it runs
// through, the links that Custody made of its steps, and the anchors of the histories in journals.
//
// What it guarantees: with a Report that is OK, each history holds (package history), the links hold (package chain), and
// the two fit: each step that a history has of the library workflows/custody has its link, with the same number, name and
// predecessors; each link of an instance has its step in the history; each link says a time between those at which its
// step was scheduled and its result recorded, so that certificates are verified for a time that the signed history vouches
// for; each approval is of what was asked for, by one who may give it as the history tells, and was raised as an event
// before it was taken; and the histories are those that the anchors know. The JSON form of a Dossier needs nothing else
// but roots to be verified, and what was taken out of it is missed where something that is left names it.
//
// What it does not guarantee: without anchors, that the histories are the newest (Report.Anchored says so). Of generations
// before the last ContinueAsNew, whose history Dapr drops, only links are left: who may give their approvals nobody looked
// (Step.Unchecked says so of each). Links that only a journal has are believed to be as old as they say. A journal that
// was read has every link that was signed over it; one that was not read is not missed.
package dossier
