// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package server

import (
	"context"

	"github.com/dapr/components-contrib/bindings"
	"github.com/dapr/components-contrib/metadata"
)

func bindingCodec(make func() bindings.OutputBinding) codec[bindings.OutputBinding] {
	return codec[bindings.OutputBinding]{make: make, telling: true, init: func(ctx context.Context, binding bindings.OutputBinding, name string, properties map[string]string) error {
		return binding.Init(ctx, bindings.Metadata{Base: metadata.Base{Name: name, Properties: properties}})
	}}
}

// bindingDoor is what components-go-sdk calls for one request: the binding of the caller.
type bindingDoor struct{ slot *slot[bindings.OutputBinding] }

var _ bindings.OutputBinding = (*bindingDoor)(nil)

func (d *bindingDoor) Init(ctx context.Context, meta bindings.Metadata) error {
	return d.slot.initialise(ctx, meta.Properties)
}

func (d *bindingDoor) GetComponentMetadata() metadata.MetadataMap { return metadata.MetadataMap{} }

func (d *bindingDoor) Operations() []bindings.OperationKind {
	binding, ok := d.slot.current()
	if !ok {
		return nil
	}
	return binding.Operations()
}

func (d *bindingDoor) Invoke(ctx context.Context, req *bindings.InvokeRequest) (resp *bindings.InvokeResponse, err error) {
	err = d.slot.use(ctx, func(b bindings.OutputBinding) error { resp, err = b.Invoke(ctx, req); return err })
	return resp, err
}

// Close is not called by components-go-sdk; the server closes what it has.
func (d *bindingDoor) Close() error { return nil }
