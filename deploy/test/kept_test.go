package deploy

import (
	"testing"

	"helm.sh/helm/v3/pkg/engine"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// TestSecretsAreKept: an upgrade keeps secrets that an earlier release of the chart rendered.
func TestSecretsAreKept(t *testing.T) {
	t.Parallel()
	api := startSecretsAPI(t)
	for name, key := range map[string]string{release + "-token": "token", release + "-redis": "password"} {
		api.stored[name] = &corev1.Secret{
			TypeMeta:   metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"},
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "hubs", Labels: map[string]string{"app.kubernetes.io/managed-by": "Helm"}},
			Data:       map[string][]byte{key: []byte("made-before-" + key)},
		}
	}
	e := engine.New(&rest.Config{
		Host: api.URL, BearerToken: "account-token", TLSClientConfig: rest.TLSClientConfig{CAFile: api.account + "/ca.crt"},
	})
	manifests, _, err := installWith(t, "", e)
	if err != nil {
		t.Fatal(err)
	}
	o := decode(t, manifests)
	for name, key := range map[string]string{release + "-token": "token", release + "-redis": "password"} {
		if got := string(named[*corev1.Secret](o, name).Data[key]); got != "made-before-"+key {
			t.Errorf("%s is %q after an upgrade", name, got)
		}
	}
	given, _, err := installWith(t, "auth: {token: given-token-of-tests}", e)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(named[*corev1.Secret](decode(t, given), release+"-token").Data["token"]); got != "given-token-of-tests" {
		t.Errorf("a token that was given afterwards is %q", got)
	}
}
