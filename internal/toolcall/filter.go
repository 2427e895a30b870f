// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall

// FilterTools takes out of the answer to a tools/list request the tools that keep denies, and returns the rest in our
// encoding with the number of tools taken out. A nil keep denies all.
//
// The list depends on the caller once it is filtered, so cacheScope is set to "private" where it is present, and added
// where the revision is 2026-07-28, which demands it. All other members stay.
//
// A message that is not a response with a result (an error, or a notification on a stream of events) is returned
// whole. Everything that cannot be filtered for certain is an *[AnswerError], and then nothing may be passed on: a
// result without an array of tools, a tool without a name, a name that comes twice, a member that differs from a known
// one only in case, and all that [ReadAnswer] refuses.
func FilterTools(message []byte, version string, lim Limits, keep func(tool string) bool) ([]byte, int, error) {
	return LearnTools(message, version, lim, keep, nil)
}

// LearnTools is [FilterTools], and on the way hands to learn the name and the inputSchema of each tool, also of those
// that keep denies. The schema is JSON in our encoding, nil where there is none, and good only until learn returns. What
// was learned of a message that is then refused may be anything. A nil learn is not called.
func LearnTools(
	message []byte, version string, lim Limits, keep func(tool string) bool, learn func(tool string, schema []byte),
) ([]byte, int, error) {
	r := &answerReader{
		scanner: newScanner(message, lim.orAnswer()),
		filter:  &toolFilter{keep: keep, learn: learn, scoped: version == Version20260728},
	}
	defer r.release()
	a, err := r.read(message)
	if err != nil {
		return nil, 0, &AnswerError{Reason: err.Error()}
	}
	if a.Kind == KindResponse && !a.RPCError && !r.filter.met {
		return nil, 0, &AnswerError{Reason: "result has no tools"}
	}
	return r.out, r.filter.dropped, nil
}

type toolFilter struct {
	keep    func(tool string) bool
	learn   func(tool string, schema []byte)
	scoped  bool // the result needs a cacheScope
	met     bool
	seen    map[string]struct{}
	dropped int
}

func (r *answerReader) filterTools() error {
	if r.dec.PeekKind() != '[' {
		if err := r.value(); err != nil {
			return err
		}
		return invalid(CodeInternalError, "result.tools is not an array")
	}
	r.filter.met = true
	r.filter.seen = make(map[string]struct{})
	return r.array(r.filterTool)
}

func (r *answerReader) filterTool(from int) error {
	if r.dec.PeekKind() != '{' {
		if err := r.value(); err != nil {
			return err
		}
		return invalid(CodeInternalError, "a tool is not an object")
	}
	var name, schema field
	err := r.object(func(member []byte) error {
		switch string(member) {
		case "name":
			return r.keepText(&name, r.lim.NameBytes)
		case "inputSchema":
			return r.keep(&schema, nil)
		}
		if err := checkMember(member, toolMembers); err != nil {
			return err
		}
		return r.value()
	})
	if err != nil {
		return err
	}
	tool, err := required("name of a tool", &name)
	if err != nil {
		return err
	}
	if _, twice := r.filter.seen[tool]; twice {
		return invalid(CodeInternalError, "tool %s is listed twice", clip(tool))
	}
	r.filter.seen[tool] = struct{}{}
	if r.filter.learn != nil {
		r.filter.learn(tool, schema.raw)
	}
	if r.filter.keep == nil || !r.filter.keep(tool) {
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

// closeFiltered adds the cacheScope that the server left out. A result without tools is refused later.
func (r *answerReader) closeFiltered() {
	if r.filter.scoped && r.filter.met && r.result.kind == '{' {
		r.out = append(r.out[:len(r.out)-1], `,"cacheScope":"private"}`...)
	}
}
