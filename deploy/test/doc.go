// Package deploy tests what is in the folder above it: the image, the compose file, the Helm chart and the Kustomize
// overlays. There is no cluster and no registry in it. Manifests are rendered with the libraries of Helm and Kustomize,
// decoded strictly with the types of the APIs that they are for, and looked at for what has to agree; the image's file
// system is built, and its binary started in it as it would be in a container.
package deploy
