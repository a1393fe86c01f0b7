import numpy as np

from ops.reconstruction.strangers import embed_both_ways, embed_face
from ops.weights.bundle import ModelBundle, load_recognition


def test_a_face_and_its_mirror_image_have_one_embedding(embedded: ModelBundle) -> None:
    recognition = load_recognition(embedded.recognition, ())
    crop = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    mirrored = np.ascontiguousarray(crop[:, ::-1])
    found = embed_both_ways(recognition, crop)
    np.testing.assert_allclose(embed_both_ways(recognition, mirrored), found, atol=1e-6)
    own = [embed_face(recognition, image) for image in (crop, mirrored)]
    cosines = [float(one @ found / np.linalg.norm(one) / np.linalg.norm(found)) for one in own]
    assert abs(cosines[0] - cosines[1]) < 1e-5
    assert cosines[0] > float(own[0] @ own[1] / np.linalg.norm(own[0]) / np.linalg.norm(own[1]))
