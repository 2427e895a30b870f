// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dbsetup_test

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/dapr-custody/custody/cmd/components/dbsetup"
)

const nobodyUID = 65534

// asSomebodyElse runs do as a user who cannot write the server's files. For root, whom nothing stops, this thread gives
// up what it may do to files; it is not used again.
func (r *rig) asSomebodyElse(do func()) {
	r.t.Helper()
	if os.Geteuid() != 0 {
		data := r.file("data_directory")
		require.NoError(r.t, os.Chmod(data, 0o500))
		defer func() { require.NoError(r.t, os.Chmod(data, 0o700)) }()
		do()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Setfsuid(nobodyUID); err != nil {
			r.t.Error(err)
			return
		}
		do()
	}()
	<-done
}

// Where the server's files cannot be written, the lines are told, and once they are put in by hand nothing is left.
func TestFilesByHand(t *testing.T) {
	r := newRig(t)
	r.setup() // so that ssl_ca_file is there
	for _, how := range []string{"hba-", "ident-"} {
		r.spoil(how)
	}
	if os.Geteuid() == 0 {
		for _, file := range []string{"", "ca.pem", "ca-key.pem"} {
			require.NoError(t, os.Chown(filepath.Join(r.caDir, file), nobodyUID, nobodyUID))
		}
		above := filepath.Dir(r.caDir)
		for _, folder := range []string{above, filepath.Dir(above)} {
			require.NoError(t, os.Chmod(folder, 0o711))
		}
	}
	var out bytes.Buffer
	var result dbsetup.Result
	var err error
	r.asSomebodyElse(func() { result, err = dbsetup.Setup(t.Context(), r.options(&out)) })
	require.NoError(t, err)
	require.False(t, result.Changed, out.String())
	require.Len(t, result.Left, 2)
	said := out.String()
	for _, setting := range []string{"hba_file", "ident_file"} {
		path := r.file(setting)
		require.Contains(t, said, path+" cannot be written from here: put these lines before all others")
		_, lines, _ := strings.Cut(said, path+" cannot be written from here")
		begin, end := strings.Index(lines, "# custody begin"), strings.Index(lines, "# custody end")
		writeAs(t, path, []byte(lines[begin:end]+"# custody end "+r.d.Name+"\n"+r.content(path)))
	}
	r.reload()
	said, result = r.setup()
	require.False(t, result.Changed, said)
	said, held := r.check()
	require.True(t, held, said)
}
