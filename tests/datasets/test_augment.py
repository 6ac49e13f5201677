"""Every option of conf/augment, unlisted, by its contract; and what their changes are."""

import pytest
import torch
from torch import Tensor

from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.datasets.augment.base import Augmentation, Draws
from nasmeta.datasets.augment.handwriting import Handwriting
from nasmeta.datasets.augment.photo import Photo
from nasmeta.datasets.augment.warp import warped
from nasmeta.datasets.decode import Preprocessing
from nasmeta.errors import ConfigError
from nasmeta.run.composition import Composition
from nasmeta.task import TaskBatch
from nasmeta.testing import augmentations as contract
from tests.option_names import names

OPTIONS = names("augment")
STILL = {"rotation": 0.0, "shear": 0.0, "scale": 0.0, "translation": 0.0, "elastic": 0.0}
PLAIN = {
    "min_area": 1.0,
    "max_aspect": 1.0,
    "flip": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
}


def built(name: str) -> Augmentation:
    augment: Augmentation = parse(composed([f"augment={name}"]), trusted=False).build("augment")
    return augment


def handwriting(*, quarter_turns: bool = False, **strengths: float) -> Handwriting:
    return Handwriting(**STILL | strengths, quarter_turns=quarter_turns)


def picture(size: int = 40) -> Tensor:
    """One smooth image without symmetries, as [1, 1, 1, 1, size, size]."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="ij")
    blobs = [((x - a) ** 2 + (y - b) ** 2).mul(-12).exp() for a, b in ((-0.4, -0.3), (0.1, 0.4), (0.4, 0.35))]
    return sum(blobs).clamp(0, 1).view(1, 1, 1, 1, size, size)  # type: ignore[union-attr]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize(
    "check",
    [
        contract.check_images,
        contract.check_draws,
        contract.check_uniform_images,
        contract.check_device,
        contract.check_sampler,
    ],
)
def test_contract(check, name: str, channels: int) -> None:
    check(built(name), channels)


@pytest.mark.parametrize("augment", [handwriting(), Photo(**PLAIN)], ids=["handwriting", "photo"])
@pytest.mark.parametrize("channels", [1, 3])
def test_without_strength_images_stay_as_they_are_to_the_bit(augment: Augmentation, channels: int) -> None:
    given = contract.images(channels)
    assert torch.equal(augment.apply(given, contract.draws()), given)


def test_a_warp_by_a_right_angle_is_rot90() -> None:
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).expand(1, 1, 1, 2, 2)
    image = contract.images(1)[:1, :1, :1]
    assert (warped(image, turn, torch.zeros(1, 1, 1, 2)) - torch.rot90(image, 1, (-2, -1))).abs().max() < 1e-5


def test_a_warp_shifts_by_whole_pixels() -> None:
    image = picture()
    moved = warped(
        image, torch.eye(2).expand(1, 1, 1, 2, 2), torch.tensor([2 * 3 / 40, 0.0]).view(1, 1, 1, 2)
    )
    assert (moved[..., :37] - image[..., 3:]).abs().max() < 1e-5
    assert (moved[..., 37:] - image[..., 39:]).abs().max() < 1e-5, "the border is repeated"


def test_a_rotation_is_one_on_images_that_are_not_square() -> None:
    image = torch.zeros(1, 1, 1, 1, 21, 41)
    image[..., 10, 14:27] = 1.0  # a bar of 13 pixels at the centre
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).expand(1, 1, 1, 2, 2)
    turned = warped(image, turn, torch.zeros(1, 1, 1, 2))
    assert (turned[..., 4:17, 20] - 1).abs().max() < 1e-4
    assert abs(float(turned.sum()) - 13) < 1e-3


def centre(image: Tensor) -> Tensor:
    """The centre of mass (x, y) of [..., H, W] in pixels from the image's centre."""
    size = image.shape[-1]
    at = torch.arange(size) - (size - 1) / 2
    return torch.stack([(image * at).sum((-2, -1)), (image * at[:, None]).sum((-2, -1))], -1) / image.sum(
        (-2, -1)
    ).unsqueeze(-1)


def test_handwriting_keeps_to_its_limits() -> None:
    images = picture().expand(4, 5, 6, 1, 40, 40)
    moved = handwriting(translation=0.1).apply(images, contract.draws())
    distance = (centre(moved) - centre(images)).abs()
    assert 3.5 < float(distance.max()) < 4.05  # 0.1 of 40 pixels
    sizes = handwriting(scale=0.2).apply(images, contract.draws()).sum((-2, -1)) / images.sum((-2, -1))
    assert 0.62 < float(sizes.min()) < 0.7  # 0.8 squared
    assert 1.35 < float(sizes.max()) < 1.46  # 1.2 squared
    bent = handwriting(elastic=0.05).apply(images, contract.draws())
    assert 0.5 < float((centre(bent) - centre(images)).abs().max()) < 2.1
    turned = centre(handwriting(rotation=30.0).apply(images, contract.draws())).flatten(0, 3)
    start = centre(images).flatten(0, 3)
    cosines = torch.nn.functional.cosine_similarity(turned, start)
    assert 29 < float(cosines.min().clamp(-1, 1).acos().rad2deg()) < 30.5


def test_quarter_turns_are_the_same_for_all_images_of_a_class_and_differ_among_classes() -> None:
    images = picture().expand(3, 4, 5, 1, 40, 40)
    turned = handwriting(quarter_turns=True).apply(images, contract.draws())
    wanted = torch.stack([torch.rot90(images, k, (-2, -1)) for k in range(4)])
    which = (turned - wanted).abs().amax((-3, -2, -1)).le(1e-5).int()  # [4, task, class, image]
    assert (which.sum(0) == 1).all(), "every image is one of the four"
    number = which.argmax(0)
    assert (number == number[..., :1]).all()
    assert set(number.flatten().tolist()) == {0, 1, 2, 3}


def test_photo_mirrors_crops_and_keeps_colours_in_proportion() -> None:
    images = picture().expand(4, 5, 6, 3, 40, 40)
    mirrored = Photo(**PLAIN | {"flip": 1.0}).apply(images, contract.draws())
    assert (mirrored - images.flip(-1)).abs().max() < 1e-5
    half = Photo(**PLAIN | {"flip": 0.5}).apply(images, contract.draws())
    share = (half - images).abs().amax((-3, -2, -1)).gt(1e-3).float().mean()
    assert 0.3 < float(share) < 0.7
    darker = Photo(**PLAIN | {"brightness": 0.5}).apply(images * 0.6, contract.draws())
    factor = darker.amax((-3, -2, -1)) / (images * 0.6).amax((-3, -2, -1))
    assert 0.5 <= float(factor.min()) < 0.55
    assert 1.45 < float(factor.max()) <= 1.5
    whole = Photo(**PLAIN | {"max_aspect": 2.0}).apply(images, contract.draws())
    assert (whole - images).abs().max() < 1e-5, "with all of its area, a crop has the image's own sides"
    crop = Photo(**PLAIN | {"min_area": 0.25}).apply(images, contract.draws())
    grown = crop.sum((-2, -1)) / images.sum((-2, -1))
    assert float(grown.max()) > 1.5, "a part of the image is enlarged"


class Halved(Augmentation):
    """Halves every value, which shows on what scale images are given."""

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        assert -1e-6 < float(images.min()) <= float(images.max()) < 1 + 1e-6
        return images / 2


def test_images_are_augmented_before_they_are_normalized() -> None:
    preprocessing = Preprocessing(channels=1, size=12, glyph=False, mean=(0.4,), std=(0.3,))
    plain = contract.sampler(1)
    augmented = Halved().augmented(plain, preprocessing, seed=0)
    given, changed = plain.batch(0, 2).query_x, augmented.batch(0, 2).query_x
    assert (changed - ((given * 0.3 + 0.4) / 2 - 0.4) / 0.3).abs().max() < 1e-5


SMALL = ["dataset.train_classes=8", "dataset.valid_classes=6", "dataset.test_classes=6", "task.query=2"]


def composition(*overrides: str) -> Composition:
    return Composition.of(parse(composed([*SMALL, *overrides]), trusted=False))


def equal(one: TaskBatch, other: TaskBatch) -> bool:
    return torch.equal(one.support_x, other.support_x) and torch.equal(one.query_x, other.query_x)


def test_only_training_episodes_are_augmented() -> None:
    plain, augmented = composition(), composition("augment=handwriting")
    for split, same in (("train", False), ("valid", True), ("test", True)):
        batches = [each.sampler(split).batch(0, 2) for each in (plain, augmented)]  # type: ignore[arg-type]
        assert equal(*batches) is same, split
    assert equal(plain.sampler("train").batch(0, 2), augmented.sampler("train").unaugmented.batch(0, 2))


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "none"])
def test_inputs_that_are_no_images_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^augment: .*\[1\].*augment=none$"):
        Composition.of(
            parse(
                composed([f"augment={name}", "dataset=sinusoid", "search_space=mlp", "meta_learner=maml"]),
                trusted=False,
            )
        )


@pytest.mark.parametrize(
    "override, key",
    [
        ("augment.rotation=200", "augment.rotation"),
        ("augment.scale=1", "augment.scale"),
        ("augment.rotatoin=3", "augment.rotatoin"),
    ],
)
def test_wrong_strengths_are_refused(override: str, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        parse(
            composed(["augment=handwriting", f"+{override}" if "toin" in override else override]),
            trusted=False,
        )
