// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard

import (
	"math/rand/v2"
	"testing"

	pg_query "github.com/pganalyze/pg_query_go/v6"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// newMessage makes an empty message of a generated type.
func newMessage(t *testing.T, descriptor protoreflect.MessageDescriptor) protoreflect.Message {
	t.Helper()
	node := (&pg_query.Node{}).ProtoReflect()
	for i := range nodeOneof.Fields().Len() {
		if field := nodeOneof.Fields().Get(i); field.Message() == descriptor {
			return node.NewField(field).Message()
		}
	}
	return dynamicpb.NewMessage(descriptor) // Never in a Node: reached through a typed field alone.
}

// wrap puts a message into the select list of a SELECT, as pg_query would.
func wrap(t *testing.T, m protoreflect.Message) *pg_query.Node {
	t.Helper()
	node := &pg_query.Node{}
	for i := range nodeOneof.Fields().Len() {
		if field := nodeOneof.Fields().Get(i); field.Message() == m.Descriptor() {
			node.ProtoReflect().Set(field, protoreflect.ValueOfMessage(m))
		}
	}
	require.NotNil(t, node.Node)
	return &pg_query.Node{Node: &pg_query.Node_SelectStmt{SelectStmt: &pg_query.SelectStmt{
		TargetList: []*pg_query.Node{node}, LimitOption: pg_query.LimitOption_LIMIT_OPTION_DEFAULT, Op: pg_query.SetOperation_SETOP_NONE,
	}}}
}

func walk(n *pg_query.Node) error {
	w := walker{plans: plans, statement: &Statement{}}
	return w.top(n)
}

// Every node that pg_query has and that is not on the list is refused, wherever it stands.
func TestNodesThatAreNotListedAreRefused(t *testing.T) {
	refused := 0
	for i := range nodeOneof.Fields().Len() {
		field := nodeOneof.Fields().Get(i)
		name := string(field.Message().Name())
		_, listed := nodes[name]
		_, ddl := ddlNodes[name]
		if listed || ddl {
			continue
		}
		refused++
		err := walk(wrap(t, newMessage(t, field.Message())))
		require.Error(t, err, name)
		require.Equal(t, ClassNode, ClassOf(err), name)
	}
	require.Greater(t, refused, 150)
}

// Every field that is not listed is refused once it is set, whatever else the node holds.
func TestFieldsThatAreNotListedAreRefused(t *testing.T) {
	for i, p := range plans {
		if p == nil || p.visit != nil { // The visitors end in fields, or read all of the few fields there are.
			continue
		}
		message := pg_query.File_pg_query_proto.Messages().Get(i)
		for _, field := range p.fields {
			if field.allowed {
				continue
			}
			m := newMessage(t, message)
			set(m, field.descriptor)
			err := (&walker{plans: plans, statement: &Statement{}}).fields(m, p)
			require.Equal(t, ClassNode, ClassOf(err), "%s.%s", p.name, field.descriptor.Name())
		}
	}
}

func set(m protoreflect.Message, field protoreflect.FieldDescriptor) {
	switch {
	case field.IsList():
		list := m.Mutable(field).List()
		list.Append(list.NewElement())
	case field.Message() != nil:
		m.Mutable(field)
	default:
		m.Set(field, scalar(field, 7))
	}
}

func scalar(field protoreflect.FieldDescriptor, n int) protoreflect.Value {
	switch field.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString([]string{"orders", "pg_catalog", "a", "="}[n%4])
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n % 9))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(n))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(int64(n))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(uint64(n))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	default:
		return protoreflect.ValueOfInt32(int32(n))
	}
}

func TestWhatIsNotKnownIsRefused(t *testing.T) {
	unknown := protowire.AppendVarint(protowire.AppendTag(nil, 9000, protowire.VarintType), 1)
	for name, make := range map[string]func() *pg_query.Node{
		"an unknown field of a node": func() *pg_query.Node {
			c := &pg_query.NullTest{}
			c.ProtoReflect().SetUnknown(unknown)
			return wrap(t, c.ProtoReflect())
		},
		"an unknown field of a constant": func() *pg_query.Node {
			c := &pg_query.A_Const{}
			c.ProtoReflect().SetUnknown(unknown)
			return wrap(t, c.ProtoReflect())
		},
		"an unknown field of a column": func() *pg_query.Node {
			c := &pg_query.ColumnRef{Fields: []*pg_query.Node{pg_query.MakeStrNode("a")}}
			c.ProtoReflect().SetUnknown(unknown)
			return wrap(t, c.ProtoReflect())
		},
		"an unknown node": func() *pg_query.Node {
			n := &pg_query.Node{}
			n.ProtoReflect().SetUnknown(unknown)
			return wrap(t, (&pg_query.NullTest{Arg: n}).ProtoReflect())
		},
		"an empty node where one must be": func() *pg_query.Node {
			return wrap(t, (&pg_query.NullTest{Arg: &pg_query.Node{}}).ProtoReflect())
		},
		"an enum's unknown value": func() *pg_query.Node {
			return wrap(t, (&pg_query.BoolExpr{Boolop: 77}).ProtoReflect())
		},
		"a table in a place of its own": func() *pg_query.Node {
			return wrap(t, (&pg_query.RangeVar{Relname: "orders", Relpersistence: "p"}).ProtoReflect())
		},
		"an unknown statement": func() *pg_query.Node { n := &pg_query.Node{}; n.ProtoReflect().SetUnknown(unknown); return n },
		"no statement":         func() *pg_query.Node { return &pg_query.Node{} },
		"a subquery of later stages": func() *pg_query.Node {
			return wrap(t, (&pg_query.SubLink{SubLinkType: pg_query.SubLinkType_MULTIEXPR_SUBLINK}).ProtoReflect())
		},
	} {
		require.Equal(t, ClassNode, ClassOf(walk(make())), name)
	}
}

// Trees that no parser makes do not make the walk panic either.
func TestAnyTreeIsSurvived(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		node := &pg_query.Node{}
		grow(random, node.ProtoReflect(), 6)
		require.NotPanics(t, func() { _ = walk(node) })
	}
}

// grow fills a message with listed nodes and fields at random.
func grow(random *rand.Rand, m protoreflect.Message, depth int) {
	if node, ok := m.Interface().(*pg_query.Node); ok {
		for node.Node == nil {
			field := nodeOneof.Fields().Get(random.IntN(nodeOneof.Fields().Len()))
			if plans[field.Message().Index()] != nil || random.IntN(200) == 0 {
				grow(random, m.Mutable(field).Message(), depth-1)
			}
		}
		return
	}
	for i := range m.Descriptor().Fields().Len() {
		field := m.Descriptor().Fields().Get(i)
		if random.IntN(2) == 0 || (field.Message() != nil && depth <= 0) {
			continue
		}
		switch {
		case field.IsList():
			list := m.Mutable(field).List()
			for range random.IntN(3) {
				element := list.NewElement()
				if field.Message() == nil {
					continue
				}
				grow(random, element.Message(), depth-1)
				list.Append(element)
			}
		case field.Message() != nil:
			grow(random, m.Mutable(field).Message(), depth-1)
		default:
			m.Set(field, scalar(field, random.IntN(20)))
		}
	}
}
