// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall

// FilterList takes out of the answer to a list method (see [Listing]) what keep denies, and returns the rest in our
// encoding with the number of items taken out. keep is given the name of a tool or prompt, the URI of a resource, a URI
// template or the ID of a task. A nil keep denies all.
//
// The list depends on the caller once it is filtered, so cacheScope is set to "private" where it is present, and added
// where the revision is 2026-07-28, which demands it. All other members stay, nextCursor among them.
//
// A message that is not a response with a result (an error, or a notification on a stream of events) is returned
// whole. Everything that cannot be filtered for certain is an *[AnswerError], and then nothing may be passed on: a
// method that gives no list, a result without the array, an item without a name, a name that comes twice, a member that
// differs from a known one only in case, and all that [ReadAnswer] refuses.
func FilterList(method string, message []byte, version string, lim Limits, keep func(name string) bool) ([]byte, int, error) {
	out, list, err := filterList(method, message, version, lim, keep, nil)
	if err != nil {
		return nil, 0, err
	}
	return out, list.dropped, nil
}

// LearnTools is [FilterList] for tools/list, and on the way hands to learn the name and the inputSchema of each tool,
// also of those that keep denies. The schema is JSON in our encoding, nil where there is none, and good only until learn
// returns. What was learned of a message that is then refused may be anything. A nil learn is not called.
//
// In place of the number it says whether the list is the last page: the message is a result, and has no nextCursor.
func LearnTools(
	message []byte, version string, lim Limits, keep func(tool string) bool, learn func(tool string, schema []byte),
) (filtered []byte, last bool, err error) {
	filtered, list, err := filterList("tools/list", message, version, lim, keep, learn)
	if err != nil {
		return nil, false, err
	}
	return filtered, list.met && !list.more, nil
}

func filterList(
	method string, message []byte, version string, lim Limits, keep func(name string) bool, learn func(tool string, schema []byte),
) ([]byte, *listFilter, error) {
	list := lookup(method).listing
	if list.member == "" {
		return nil, nil, &AnswerError{Reason: "the answer to " + clip(method) + " is no list"}
	}
	r := &answerReader{
		scanner: newScanner(message, lim.orAnswer()),
		filter: &listFilter{
			listing: list, members: []string{list.member}, keys: []string{list.key}, keep: keep, learn: learn,
			scoped: version == Version20260728,
		},
	}
	defer r.release()
	a, err := r.read(message)
	if err != nil {
		return nil, nil, &AnswerError{Reason: err.Error()}
	}
	if a.Kind == KindResponse && !a.RPCError && !r.filter.met {
		return nil, nil, &AnswerError{Reason: "result has no " + list.member}
	}
	return r.out, r.filter, nil
}

type listFilter struct {
	listing

	members, keys []string
	keep          func(name string) bool
	learn         func(tool string, schema []byte) // for tools/list alone
	scoped        bool                             // the result needs a cacheScope
	met           bool
	more          bool // there is a nextCursor
	seen          map[string]struct{}
	dropped       int
}

func (r *answerReader) filterList() error {
	if r.dec.PeekKind() != '[' {
		if err := r.value(); err != nil {
			return err
		}
		return invalid(CodeInternalError, "result.%s is not an array", r.filter.member)
	}
	r.filter.met = true
	r.filter.seen = make(map[string]struct{})
	return r.array(r.filterItem)
}

func (r *answerReader) filterItem(from int) error {
	if r.dec.PeekKind() != '{' {
		if err := r.value(); err != nil {
			return err
		}
		return invalid(CodeInternalError, "a %s is not an object", r.filter.item)
	}
	var key, schema field
	err := r.object(func(member []byte) error {
		switch {
		case string(member) == r.filter.key:
			return r.keepText(&key, r.lim.NameBytes)
		case r.filter.learn != nil && string(member) == "inputSchema":
			return r.keep(&schema, nil)
		}
		if err := checkMember(member, r.filter.keys); err != nil {
			return err
		}
		return r.value()
	})
	if err != nil {
		return err
	}
	name, err := required(r.filter.key+" of a "+r.filter.item, &key)
	if err != nil {
		return err
	}
	if _, twice := r.filter.seen[name]; twice {
		return invalid(CodeInternalError, "%s %s is listed twice", r.filter.item, clip(name))
	}
	r.filter.seen[name] = struct{}{}
	if r.filter.learn != nil {
		r.filter.learn(name, schema.raw)
	}
	if r.filter.keep == nil || !r.filter.keep(name) {
		r.out = r.out[:from]
		r.filter.dropped++
	}
	return nil
}

// makePrivate writes "private" whatever the server said.
func (r *answerReader) makePrivate() error {
	from := len(r.out)
	if err := r.value(); err != nil {
		return err
	}
	r.out = append(r.out[:from], `"private"`...)
	r.filter.scoped = false
	return nil
}

// closeFiltered adds the cacheScope that the server left out. A result without the list is refused later.
func (r *answerReader) closeFiltered() {
	if r.filter.scoped && r.filter.met && r.result.kind == '{' {
		r.out = append(r.out[:len(r.out)-1], `,"cacheScope":"private"}`...)
	}
}
