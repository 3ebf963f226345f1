package topology

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLoadIsAllOrNothing(t *testing.T) {
	name := filepath.Join(t.TempDir(), "topology.json")
	_, err := Load(name, Options{})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, os.WriteFile(name, []byte(`{"localRoots": [], "publicRoots": 7}`), 0o600))
	got, err := Load(name, Options{})
	require.ErrorContains(t, err, "publicRoots")
	require.Nil(t, got)
	require.NoError(t, os.WriteFile(name, []byte(`{"localRoots": [], "publicRoots": []}`), 0o600))
	got, err = Load(name, Options{})
	require.NoError(t, err)
	require.NotNil(t, got)
}
